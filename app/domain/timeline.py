"""What an operation was told by the service's clock: `Operation.reports`, a text of entries in their order.

An entry is `microseconds since 1970:rank:count`. The rank is 0 for a start or progress and 1 for an end, and 2 more if
the report named the operation. Of one instant a start comes before an end. A row of an earlier release has none.

A text, since it is written with every report and taken apart only for one that is late: JSON would be read each time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.domain.cases import Operation
from app.domain.messages import Report
from app.domain.transitions import ANSWERED

END, NAMED = 1, 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# A sync that reports every second for hours must not fill its row. An end that comes behind more reports of the next
# sync than this finds no count of its own any more.
LONGEST = 50
# Of no more than that many entries, however small.
_SURELY_SHORT = LONGEST * len("1795348801000000:0:")


class Entry(NamedTuple):
    """One report."""

    at: int
    rank: int
    documents: int | None

    @property
    def is_end(self) -> bool:
        """Tell an end from a start."""
        return bool(self.rank & END)

    @property
    def is_named(self) -> bool:
        """Tell whether the report named the operation."""
        return bool(self.rank & NAMED)

    @property
    def key(self) -> tuple[int, int]:
        """Return the place among others; two of one place are copies."""
        return self.at, self.rank & END


Entries = list[Entry]


def entry_of(report: Report, moment: datetime) -> Entry:
    """Return what is kept of a report of that moment."""
    rank = (0 if report.trigger == "started" else END) | (0 if report.operation_id is None else NAMED)
    return Entry((moment - EPOCH) // MICROSECOND, rank, report.documents_processed)


def moment_of(entry: Entry) -> datetime:
    """Return when it was."""
    return EPOCH + entry.at * MICROSECOND


def entries_of(operation: Operation) -> Entries:
    """Return what an operation was told."""
    return read(operation.reports)


def read(text: str | None) -> Entries:
    """Return entries as they are stored in a text."""
    parts = [entry.split(":") for entry in (text or "").split()]
    return [Entry(int(at), int(rank), int(count) if count else None) for at, rank, count in parts]


def text_of(entries: Entries) -> str:
    """Return entries as they are stored."""
    return " ".join([_written(entry) for entry in entries])


def _written(entry: Entry) -> str:
    at, rank, count = entry
    return f"{at}:{rank}:" if count is None else f"{at}:{rank}:{count}"


def extended(text: str | None, entry: Entry) -> str | None:
    """Return a text with an entry that comes after all others, or None if it does not, or the text is long."""
    if not text:
        return _written(entry)
    if len(text) > _SURELY_SHORT or int(text[text.rfind(" ") + 1 :].partition(":")[0]) > entry.at - (not entry.is_end):
        return None
    return f"{text} {_written(entry)}"


def added(entries: Entries, entry: Entry) -> Entries:
    """Return entries with one more, in their order; copies of a report become one, with the largest of their counts."""
    for other in entries:
        if other.key == entry.key:
            count = max(entry.documents, other.documents, key=lambda number: -1 if number is None else number)
            entry = Entry(entry.at, entry.rank | other.rank, count)
    others = [other for other in entries if other.key != entry.key]
    found = sorted([*others, entry], key=lambda each: each.key)
    return found if len(found) <= LONGEST else found[:1] + found[1 - LONGEST :]


def end_of(operation: Operation) -> Entry | None:
    """Return the end that an operation was told, if that had a time."""
    return next((entry for entry in entries_of(operation) if entry.is_end), None)


def count_of(entries: Entries) -> int | None:
    """Return the last count that the entries tell up to their end, or None."""
    count = None
    for entry in entries:
        count = count if entry.documents is None else entry.documents
        if entry.is_end:
            break
    return count


def add(operation: Operation, entry: Entry) -> bool:
    """Let an operation have been told one thing more; tell whether its count is another one then."""
    reports = extended(operation.reports, entry) if operation.is_open else None
    if reports is None:
        return tell(operation, added(entries_of(operation), entry))
    before, operation.reports = operation.documents_processed, reports
    operation.documents_processed = before if entry.documents is None else entry.documents
    return operation.documents_processed != before


def tell(operation: Operation, entries: Entries) -> bool:
    """Let an operation have been told this; tell whether its count is another one then."""
    before, known = operation.documents_processed, count_of(entries_of(operation))
    operation.reports, count = text_of(entries) or None, count_of(entries)
    # What had no time left a count only here.
    is_kept = known is None if count is None else operation.state in ANSWERED and end_of(operation) is None
    if not is_kept:
        operation.documents_processed = count
    return operation.documents_processed != before


def chosen(operation: Operation, are_wanted: Callable[[Entry], bool]) -> Entries:
    """Return what an operation was told, of what is wanted."""
    return [entry for entry in entries_of(operation) if are_wanted(entry)]


def take_starts(operation: Operation, *, until: int) -> Entries:
    """Take from an operation the unnamed starts until a moment: they are of another's end."""
    starts = chosen(operation, lambda e: not e.is_end and not e.is_named and e.at <= until)
    if starts:
        tell(operation, chosen(operation, lambda e: e not in starts))
    return starts
