"""The table, for a terminal and for docs/reliability.md; a row stays until its combination is run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.matrix.combinations import COMBINATIONS
from tests.project import PROJECT, replace_between
from tests.runs import Tally

PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: make matrix -->", "<!-- end of table: make matrix -->"
HEADINGS = ("combination", "tried with", "tests passed", "failed", "skipped", "minutes", "run on")


@dataclass(frozen=True)
class Outcome:
    """What one combination came to."""

    combination: str
    tried: str
    tests: Tally
    took: timedelta


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    return _table({outcome.combination: _row(outcome) for outcome in outcomes})


def publish(outcomes: Iterable[Outcome]) -> None:
    """Write the rows of these into the page's table."""
    rows = _published(PAGE.read_text()) | {outcome.combination: _row(outcome) for outcome in outcomes}
    replace_between(PAGE, BEGIN, END, _table({name: rows[name] for name in COMBINATIONS if name in rows}))


def _row(outcome: Outcome) -> str:
    tests = outcome.tests
    minutes, today = f"{outcome.took.total_seconds() / 60:.1f}", datetime.now(UTC).date().isoformat()
    cells = (outcome.combination, outcome.tried, tests.passed, tests.failed, tests.skipped, minutes, today)
    return _line(map(str, cells))


def _table(rows: Mapping[str, str]) -> str:
    heads = [_line(HEADINGS), _line(("---",) * 2 + ("---:",) * 4 + ("---",))]
    return "\n".join([*heads, *rows.values()])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _published(page: str) -> dict[str, str]:
    """Return the rows that are there, by combination."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = {line: line.strip("| ").partition(" ")[0] for line in lines}
    return {name: line for line, name in cells.items() if name in COMBINATIONS}
