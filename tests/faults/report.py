"""The table, for a terminal and for the page of documentation."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.faults.judge import LONGEST_RECOVERY, Verdict
from tests.faults.scene import Fault
from tests.project import PROJECT, replace_between

PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: make faults -->", "<!-- end of table -->"
HEADINGS = (
    "fault",
    "requests accepted",
    "webhooks received",
    "operations that ended",
    "duplicates that changed anything",
    "messages lost",
    "rows stuck",
    "time to recover",
)


def table(results: Iterable[tuple[Fault, Verdict]]) -> str:
    """Return the results as Markdown."""
    lines = [HEADINGS, ("---",) + ("---:",) * (len(HEADINGS) - 1)]
    lines += [(found.title, *figures(verdict)) for found, verdict in results]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(verdict: Verdict) -> tuple[str, ...]:
    recovered = verdict.recovered_after
    return (
        f"{verdict.accepted} of {verdict.pressed}",
        str(verdict.webhooks),
        f"{verdict.ended} of {verdict.opened}",
        str(len(verdict.duplicates)),
        str(len(verdict.lost)),
        str(len(verdict.stuck)),
        ("never" if recovered is None else f"{recovered:.1f} s") + verdict.remark,
    )


def machine() -> str:
    """Tell what the run ran on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def publish(results: list[tuple[Fault, Verdict]], *, took: float) -> None:
    """Write the table between the page's two markers."""
    today = datetime.now(UTC).date().isoformat()
    failed = sum(bool(verdict.problems) for _, verdict in results)
    summary = f"{len(results)} faults in {took / 60:.0f} minutes on {machine()}, {today}: {failed} failed."
    limit = f"A row fails if anything is lost, stuck or applied twice, or after {LONGEST_RECOVERY:.0f} s to recover."
    replace_between(PAGE, BEGIN, END, f"{summary} {limit}\n\n{table(results)}")
