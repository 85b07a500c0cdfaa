"""What an operation was told by the service's clock: `Operation.reports`, a text of entries in their order.

An entry is `microseconds since 1970:rank:count`. The rank is 0 for a start or progress and 1 for an end, and 2 more if
the report named the operation. Of one instant a start comes before an end. A row of an earlier release has none.

A text, since it is written with every report and taken apart only for one that is late: JSON would be read each time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.domain.aggregate import Operation
from app.domain.status_messages import Report
from app.domain.transitions import ANSWERED_STATES

END_FLAG, NAMED_FLAG = 1, 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# A sync that reports every second for hours must not fill its row. An end that comes behind more reports of the next
# sync than this finds no count of its own any more.
MAX_ENTRIES = 50
# Of no more than that many entries, however small.
_MAX_TEXT_LENGTH_WITHOUT_COUNTING = MAX_ENTRIES * len("1795348801000000:0:")


class ReportEntry(NamedTuple):
    """One report; `at` is in microseconds since 1970."""

    at: int
    rank: int
    documents: int | None

    @property
    def is_end(self) -> bool:
        """Tell an end from a start."""
        return bool(self.rank & END_FLAG)

    @property
    def is_named(self) -> bool:
        """Tell whether the report named the operation."""
        return bool(self.rank & NAMED_FLAG)

    @property
    def sort_key(self) -> tuple[int, int]:
        """Return the place among others; two of one place are copies."""
        return self.at, self.rank & END_FLAG


ReportEntries = list[ReportEntry]


def report_entry(report: Report, reported_at: datetime) -> ReportEntry:
    """Return what is kept of a report of that moment."""
    rank = (0 if report.trigger == "started" else END_FLAG) | (0 if report.operation_id is None else NAMED_FLAG)
    return ReportEntry((reported_at - EPOCH) // MICROSECOND, rank, report.documents_processed)


def entry_time(entry: ReportEntry) -> datetime:
    """Return when it was."""
    return EPOCH + entry.at * MICROSECOND


def entries_of(operation: Operation) -> ReportEntries:
    """Return what an operation was told."""
    return parse_entries(operation.reports)


def parse_entries(text: str | None) -> ReportEntries:
    """Return entries as they are stored in a text."""
    parts = [entry.split(":") for entry in (text or "").split()]
    return [ReportEntry(int(at), int(rank), int(count) if count else None) for at, rank, count in parts]


def format_entries(entries: ReportEntries) -> str:
    """Return entries as they are stored."""
    return " ".join([_format_entry(entry) for entry in entries])


def _format_entry(entry: ReportEntry) -> str:
    at, rank, count = entry
    return f"{at}:{rank}:" if count is None else f"{at}:{rank}:{count}"


def append_entry_to_text(text: str | None, entry: ReportEntry) -> str | None:
    """Return a text with an entry that comes after all others, or None if it does not, or the text is long."""
    if not text:
        return _format_entry(entry)
    last_at = int(text[text.rfind(" ") + 1 :].partition(":")[0])
    if len(text) > _MAX_TEXT_LENGTH_WITHOUT_COUNTING or last_at > entry.at - (not entry.is_end):
        return None
    return f"{text} {_format_entry(entry)}"


def with_entry(entries: ReportEntries, entry: ReportEntry) -> ReportEntries:
    """Return entries with one more, in their order; copies of a report become one, with the largest of their counts."""
    for other in entries:
        if other.sort_key == entry.sort_key:
            count = max(entry.documents, other.documents, key=lambda number: -1 if number is None else number)
            entry = ReportEntry(entry.at, entry.rank | other.rank, count)
    others = [other for other in entries if other.sort_key != entry.sort_key]
    found = sorted([*others, entry], key=lambda each: each.sort_key)
    return found if len(found) <= MAX_ENTRIES else found[:1] + found[1 - MAX_ENTRIES :]


def end_entry_of(operation: Operation) -> ReportEntry | None:
    """Return the end that an operation was told, if that had a time."""
    return next((entry for entry in entries_of(operation) if entry.is_end), None)


def document_count_of(entries: ReportEntries) -> int | None:
    """Return the last count that the entries tell up to their end, or None."""
    count = None
    for entry in entries:
        count = count if entry.documents is None else entry.documents
        if entry.is_end:
            break
    return count


def add_entry(operation: Operation, entry: ReportEntry) -> bool:
    """Let an operation have been told one thing more; tell whether its count is another one then."""
    reports = append_entry_to_text(operation.reports, entry) if operation.is_open else None
    if reports is None:
        return set_entries(operation, with_entry(entries_of(operation), entry))
    before, operation.reports = operation.documents_processed, reports
    operation.documents_processed = before if entry.documents is None else entry.documents
    return operation.documents_processed != before


def set_entries(operation: Operation, entries: ReportEntries) -> bool:
    """Let an operation have been told this; tell whether its count is another one then."""
    before, known = operation.documents_processed, document_count_of(entries_of(operation))
    operation.reports, count = format_entries(entries) or None, document_count_of(entries)
    # What had no time left a count only here.
    is_kept = known is None if count is None else operation.state in ANSWERED_STATES and end_entry_of(operation) is None
    if not is_kept:
        operation.documents_processed = count
    return operation.documents_processed != before


def take_unnamed_starts(operation: Operation, *, until: int) -> ReportEntries:
    """Take from an operation the unnamed starts until a moment, in microseconds: they are of another's end."""
    entries = entries_of(operation)
    starts = [entry for entry in entries if not entry.is_end and not entry.is_named and entry.at <= until]
    if starts:
        set_entries(operation, [entry for entry in entries if entry not in starts])
    return starts
