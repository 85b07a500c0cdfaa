"""What an operation was told by the service's clock: `Operation.reports`, in their order, as they lie in the database.

Each is `[microseconds since 1970, rank, count]`. The rank is 0 for a start or progress and 1 for an end, and 2 more if
the report named the operation. Of one instant a start comes before an end. A row of an earlier release has none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.cases import Operation
from app.domain.messages import Report

Entry = list[Any]
Entries = list[Entry]

END, NAMED = 1, 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# A sync that reports every second for hours must not fill its row. An end that comes behind more reports of the next
# sync than this finds no count of its own any more.
LONGEST = 50


def entry_of(report: Report, at: int) -> Entry:
    """Return what is kept of a report of that moment."""
    rank = (0 if report.trigger == "started" else END) | (0 if report.operation_id is None else NAMED)
    return [at, rank, report.documents_processed]


def microseconds(moment: datetime) -> int:
    """Return a moment as entries have it."""
    return (moment - EPOCH) // MICROSECOND


def moment(at: int) -> datetime:
    """Return the moment of an entry."""
    return EPOCH + at * MICROSECOND


def is_end(entry: Entry) -> bool:
    """Tell an end from a start."""
    return bool(entry[1] & END)


def is_named(entry: Entry) -> bool:
    """Tell whether the report named the operation."""
    return bool(entry[1] & NAMED)


def added(entries: Entries | None, entry: Entry) -> Entries:
    """Return entries with one more, in their order; copies of a report become one, with the largest of their counts."""
    if not entries:
        return [entry]
    if _key(entry) > _key(entries[-1]):
        return _short([*entries, entry])
    alike = [other for other in entries if _key(other) == _key(entry)]
    others = [other for other in entries if _key(other) != _key(entry)]
    for other in alike:
        entry = [entry[0], entry[1] | other[1], max(entry[2], other[2], key=_counted)]
    return _short(sorted([*others, entry], key=_key))


def end_of(operation: Operation) -> Entry | None:
    """Return the end that an operation was told, if that had a time."""
    return next((entry for entry in operation.reports or () if is_end(entry)), None)


def count_of(entries: Entries | None) -> Any:
    """Return the last count that the entries tell up to their end, or None."""
    count = None
    for entry in entries or ():
        count = count if entry[2] is None else entry[2]
        if is_end(entry):
            break
    return count


def _key(entry: Entry) -> tuple[int, int]:
    return entry[0], entry[1] & END


def _counted(count: int | None) -> int:
    return -1 if count is None else count


def _short(entries: Entries) -> Entries:
    return entries if len(entries) <= LONGEST else entries[:1] + entries[1 - LONGEST :]
