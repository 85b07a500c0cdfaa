"""The table, for a terminal and for the page of documentation; a row stays until its combination is run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from devstack.brokers import COMBINATIONS
from tests.brokers.runs import Outcome
from tests.faults.report import PAGE
from tests.project import replace_between

BEGIN, END = "<!-- table: make brokers -->", "<!-- end of table: make brokers -->"
HEADINGS = (
    "release and queues",
    "RabbitMQ",
    "Erlang",
    "tests passed",
    "failed",
    "skipped",
    "faults passed",
    "minutes",
    "run on",
)


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    return _table({outcome.combination: _row(outcome) for outcome in outcomes})


def publish(outcomes: Iterable[Outcome]) -> None:
    """Write the rows of these into the page's table."""
    rows = _published(PAGE.read_text()) | {outcome.combination: _row(outcome) for outcome in outcomes}
    ordered = {name: rows[name] for name in COMBINATIONS if name in rows}
    replace_between(PAGE, BEGIN, END, _table(ordered))


def _row(outcome: Outcome) -> str:
    faults = outcome.faults
    cells = (
        outcome.combination,
        outcome.rabbitmq,
        outcome.erlang,
        str(outcome.tests.passed),
        str(outcome.tests.failed),
        str(outcome.tests.skipped),
        f"{faults.passed} of {faults.passed + faults.failed}" if faults else "not run",
        f"{outcome.took.total_seconds() / 60:.1f}",
        datetime.now(UTC).date().isoformat(),
    )
    return _line(cells)


def _table(rows: Mapping[str, str]) -> str:
    heads = [_line(HEADINGS), _line(("---",) * 3 + ("---:",) * (len(HEADINGS) - 4) + ("---",))]
    return "\n".join([*heads, *rows.values()])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _published(page: str) -> dict[str, str]:
    """Return the rows that are there, by combination."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = {line: line.strip("| ").partition(" ")[0] for line in lines}
    return {name: line for line, name in cells.items() if name in COMBINATIONS}
