"""Dated reports of syncs: the same rows in the end, whatever the order, however many copies. Pure.

An end is known by its time. A sync of the service's own has the starts between the end before it and its own end. A
sync that somebody asked for has the end that names it, or else the first one after it was asked for. What comes late
finds its place in what is known already. See `docs/decisions/0025-one-history-in-any-order.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain import ids
from app.domain.cases import Case, Connection, Operation
from app.domain.messages import AHEAD, Report
from app.domain.timeline import (
    Entries,
    Entry,
    added,
    count_of,
    end_of,
    entry_of,
    is_end,
    is_named,
    microseconds,
    moment,
)
from app.domain.transitions import ANSWERED, UNANSWERED, move, record_answer

Clock = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Heard:
    """A report, and what it takes to record it."""

    case: Case
    report: Report
    at: datetime
    entry: Entry
    fresh_id: UUID
    silence: timedelta
    now: datetime


def apply(case: Case, report: Report, at: datetime, *, fresh_id: UUID, silence: timedelta, now: datetime) -> bool:
    """Apply a report of that moment; False if it is late or a copy, and then nothing visible changes."""
    heard = Heard(case, report, at, entry_of(report, microseconds(at)), fresh_id, silence, now)
    named = None if report.operation_id is None else case.operations[report.operation_id]
    if named is not None and named.state == "replaced":
        return False
    _advance(heard)
    return _start(heard, named) if report.trigger == "started" else _end(heard, named)


def clock_of(connection: Connection, *, now: datetime) -> Clock | None:
    """Return the newest report known, by the service's clock; an impossible one, of an earlier release, is none."""
    known = connection.sync_reported_at
    return None if known is None or known > now + AHEAD else (known, connection.sync_reported_rank or 0)


def looks_back(case: Case, reports: Sequence[Report], *, now: datetime) -> list[datetime] | None:
    """Return the moments of these dated reports at which what has ended counts, or None if nothing that has ended does.

    None is what a flood in its order gives: each report is newer than those before it, and answers what is open.
    """
    clock, running = clock_of(case.connection, now=now), case.open("sync")
    is_open, looks = running is not None and running.was_sent, False
    moments: list[datetime] = []
    for report in reports:
        if report.timestamp is None:
            continue
        comes = report.timestamp, rank_of(report)
        if report.operation_id is not None:
            named = case.operations.get(report.operation_id)
            is_newest = clock is None or comes >= clock
            clock = comes if is_newest else clock
            if named is None or (named.is_open and is_newest):
                continue
            looks, moments = True, [*moments, *filter(None, [place_of(named), report.timestamp])]
        elif clock is not None and comes <= clock:
            looks, moments = True, [*moments, report.timestamp]
        else:
            looks |= report.trigger != "started" and not is_open
            is_open, clock = True, comes
    return moments if looks else None


def rank_of(report: Report) -> int:
    """Return a report's place among those of one instant."""
    return int(report.trigger != "started")


def place_of(operation: Operation) -> datetime | None:
    """Return the moment up to which history is this operation's or older, by the service's clock."""
    reported, asked = operation.last_reported_at, operation.asked_after
    return max(reported, asked) if reported and asked else reported or asked


def _advance(heard: Heard) -> None:
    connection, known = heard.case.connection, clock_of(heard.case.connection, now=heard.now)
    clock = heard.at, rank_of(heard.report)
    if known is None or clock > known:
        connection.sync_reported_at, connection.sync_reported_rank = clock


def _start(heard: Heard, named: Operation | None) -> bool:
    host = named or _heir(heard)
    if host is None:
        host = _opened(heard, heard.fresh_id)
    elif named is None and not _may_be_of(host, heard.at):
        # It is of a sync that there is no row of yet: kept for its end.
        host.reports = added(host.reports, heard.entry)
        return False
    return _run(heard, host) if host.is_open else _start_of_ended(heard, host, named)


def _run(heard: Heard, operation: Operation) -> bool:
    """Let an open operation take a start, or progress."""
    entries = added(operation.reports, heard.entry)
    if entries == operation.reports:
        return False
    begins = operation.state != "running"
    is_newer = operation.last_reported_at is None or heard.at > operation.last_reported_at
    counted = _tell(operation, entries)
    if not (begins or is_newer or counted):
        return False
    move(operation, "started", now=heard.now)
    operation.started_at = operation.started_at or heard.now
    if is_newer:
        operation.last_reported_at = heard.at
    if begins or is_newer:
        operation.deadline_at = heard.now + heard.silence
    heard.case.note("sync.started" if begins else "sync.progress", operation=operation)
    return True


def _start_of_ended(heard: Heard, operation: Operation, named: Operation | None) -> bool:
    """Let an operation that has ended take a start: it changes what is told of it, and no state."""
    end = end_of(operation)
    if named is not None and end is not None and heard.entry[0] > end[0]:
        if is_named(end):
            return False
        if heard.case.open("sync") is None:
            return _reopen(heard, operation)
    entries = added(operation.reports, heard.entry)
    if entries == operation.reports:
        return False
    counted = _tell(operation, entries)
    begins = operation.started_at is None and (named is not None or operation.state in ANSWERED)
    if begins:
        operation.started_at = heard.now
    if begins or counted:
        heard.case.note("sync.started" if begins else "sync.progress", operation=operation)
    return begins or counted


def _end(heard: Heard, named: Operation | None) -> bool:
    if named is not None:
        return _named_end(heard, named)
    twin = next((o for o in _syncs(heard.case) if _ended_then(o, heard)), None)
    if twin is not None:
        return _merge(heard, twin)
    heir = _heir(heard)
    if heir is not None and _takes(heir, heard):
        return _take(heard, heir)
    starts = [] if heir is None else _starts_until(heard, heir)
    missed = None if starts else _missed(heard, heir)
    return _insert(heard, starts, heir) if missed is None else _take(heard, missed)


def _named_end(heard: Heard, operation: Operation) -> bool:
    if operation.state in ANSWERED:
        end = end_of(operation)
        if end is None or (is_named(end) and end[0] < heard.entry[0]):
            return False
        if end[0] == heard.entry[0]:
            return _merge(heard, operation)
    heir = _heir(heard)
    if heir is not None and heir is not operation and not _began_before(heir, heard.at):
        # Starts before this end are not of what comes after it.
        for start in _starts_until(heard, heir):
            operation.reports = added(operation.reports, start)
    return _take(heard, operation)


def _ended_then(operation: Operation, heard: Heard) -> bool:
    if operation.state not in ANSWERED:
        return False
    end = end_of(operation)
    return (
        operation.last_reported_at == heard.at
        if operation.reports is None
        else end is not None and end[0] == heard.entry[0]
    )


def _merge(heard: Heard, operation: Operation) -> bool:
    """Let two ends of one instant be one: what names the operation holds, else the failure, else the first in words."""
    end, report = end_of(operation), heard.report
    if end is None or (is_named(end) and not is_named(heard.entry)):
        return False
    counted = _tell(operation, added(operation.reports, heard.entry))
    known, told = (operation.state, operation.error or ""), (report.trigger, report.error or "")
    changes = told < known or (told != known and is_named(heard.entry) and not is_named(end))
    if changes:
        operation.state, operation.error = report.trigger, report.error
        if _is_last(heard.case, operation):
            record_answer(heard.case.connection, report, now=heard.now)
    if changes or counted:
        heard.case.note(f"sync.{report.trigger if changes else 'progress'}", operation=operation)
    return changes or counted


def _takes(heir: Operation, heard: Heard) -> bool:
    """Tell whether an unnamed end is that of the operation in whose time it falls."""
    at, entries = heard.entry[0], heir.reports or []
    if heir.state == "replaced" or not _may_be_of(heir, heard.at):
        return False
    if heir.origin == "service":
        begun = any(entry[0] <= at for entry in entries if not is_end(entry))
        if heir.is_open:
            return begun or not entries
        # It keeps its beginning if that has been told of; else its end.
        return begun and (heir.reported_late or heir.state in UNANSWERED)
    end = end_of(heir)
    if heir.state in ANSWERED and (end is None or is_named(end)):
        return False
    return not any(is_named(entry) and entry[0] > at for entry in entries)


def _missed(heard: Heard, heir: Operation | None) -> Operation | None:
    """Return the operation just before, if it ended without an answer: this is the answer."""
    earlier = [o for o in _syncs(heard.case) if not o.is_open and (heir is None or o.id < heir.id)]
    last = max(earlier, key=lambda o: o.id, default=None)
    if last is None or last.state not in UNANSWERED or not _may_be_of(last, heard.at):
        return None
    return last if last.last_reported_at is None or last.last_reported_at <= heard.at else None


def _take(heard: Heard, operation: Operation) -> bool:
    """Let an operation have this end. What it had of another's goes on as a sync of the service's own."""
    at, end, case = heard.entry[0], end_of(operation), heard.case
    told, was_open = (operation.state, operation.error), operation.is_open
    if end is not None and end[0] < at:
        theirs = _entries(operation, lambda e: not is_named(e) and e[0] <= end[0])
    elif end is None or not is_named(end):
        theirs = _entries(operation, lambda e: not is_named(e) and e[0] > at)
    else:
        theirs = []
    mine = _entries(operation, lambda e: not is_end(e) and e[0] <= at and e not in theirs)
    other = None
    if theirs and not was_open:
        other = _parted(heard, operation, theirs)
    _finish(heard, operation, mine)
    if _is_last(case, operation):
        record_answer(case.connection, heard.report, now=heard.now)
    if was_open or told != (operation.state, operation.error):
        case.note(f"sync.{heard.report.trigger}", operation=operation)
    if theirs and was_open:
        other = _opened(heard, _id_beside(heard, after=operation))
        other.reports, other.state = theirs, "running"
        other.deadline_at = heard.now + heard.silence
        _settle(heard, other)
    if other is not None:
        _note_all(heard, other)
    return True


def _insert(heard: Heard, starts: Entries, heir: Operation | None) -> bool:
    """Add a sync of the service's own, with these starts, before the one in whose time it ended."""
    if heir is not None and heir.origin == "user":
        heir.asked_after = max(heir.asked_after or heard.at, heard.at)
    operation = _opened(heard, _id_beside(heard, before=heir))
    _finish(heard, operation, starts)
    if starts:
        operation.started_at = heard.now
    if _is_last(heard.case, operation):
        record_answer(heard.case.connection, heard.report, now=heard.now)
    _note_all(heard, operation)
    return True


def _reopen(heard: Heard, operation: Operation) -> bool:
    """Let an operation run: it was ended by an end that did not name it, and started after that."""
    end = end_of(operation)
    theirs = _entries(operation, lambda e: end is not None and not is_named(e) and e[0] <= end[0])
    other = _parted(heard, operation, theirs)
    operation.state, operation.error, operation.finished_at = "running", None, None
    operation.reported_late, operation.last_reported_at = False, heard.at
    _tell(operation, added(_entries(operation, lambda e: e not in theirs), heard.entry))
    operation.started_at, operation.deadline_at = operation.started_at or heard.now, heard.now + heard.silence
    _note_all(heard, other)
    heard.case.note("sync.started", operation=operation)
    return True


def _finish(heard: Heard, operation: Operation, entries: Entries) -> None:
    """Write this end into an operation, beside what else it was told."""
    operation.reported_late = operation.reported_late or operation.state in UNANSWERED
    if not move(operation, heard.report.trigger, now=heard.now):
        operation.state = heard.report.trigger
    operation.error, operation.last_reported_at = heard.report.error, heard.at
    _tell(operation, added(entries, heard.entry))


def _tell(operation: Operation, entries: Entries) -> bool:
    """Let an operation have been told this; tell whether its count is another one then."""
    before, operation.reports, known = operation.documents_processed, entries, operation.reports
    count = count_of(entries)
    # What had no time left a count only here.
    is_kept = count_of(known) is None if count is None else operation.state in ANSWERED and end_of(operation) is None
    if not is_kept:
        operation.documents_processed = count
    return operation.documents_processed != before


def _parted(heard: Heard, operation: Operation, entries: Entries) -> Operation:
    """Return a new sync of the service's own with these entries of an operation and how that one ended."""
    is_older = entries[-1][0] < heard.entry[0]
    id_ = _id_beside(heard, before=operation) if is_older else _id_beside(heard, after=operation)
    other = _opened(heard, id_)
    other.reports, other.state, other.error = entries, operation.state, operation.error
    other.finished_at = operation.finished_at
    _settle(heard, other)
    if is_older and operation.origin == "user":
        operation.asked_after = max(filter(None, [operation.asked_after, other.last_reported_at]))
    return other


def _settle(heard: Heard, operation: Operation) -> None:
    entries = operation.reports or []
    operation.documents_processed, operation.last_reported_at = count_of(entries), moment(entries[-1][0])
    if any(not is_end(entry) for entry in entries):
        operation.started_at = heard.now


def _note_all(heard: Heard, operation: Operation) -> None:
    """Note what is new of a new operation: its start, if it has one, and its end."""
    if operation.started_at is not None:
        heard.case.note("sync.started", operation=operation)
    if not operation.is_open:
        heard.case.note(f"sync.{operation.state}", operation=operation)


def _opened(heard: Heard, id_: UUID) -> Operation:
    """Open an operation for a sync of the service's own."""
    connection = heard.case.connection
    operation = Operation(
        id=id_,
        organization_id=connection.organization_id,
        connection_id=connection.id,
        kind="sync",
        origin="service",
        state="delivered",
        created_at=heard.now,
        deadline_at=None,
    )
    heard.case.operations[id_] = operation
    return operation


def _id_beside(heard: Heard, *, before: Operation | None = None, after: Operation | None = None) -> UUID:
    """Return an id right before or after an operation's, or after all."""
    known = [operation.id for operation in _syncs(heard.case)]
    if after is not None:
        return ids.between(after.id, min((id_ for id_ in known if id_ > after.id), default=None), heard.fresh_id)
    newer = None if before is None else before.id
    older = max((id_ for id_ in known if newer is None or id_ < newer), default=None)
    return ids.between(older, newer, heard.fresh_id)


def _starts_until(heard: Heard, heir: Operation) -> Entries:
    """Take from an operation the unnamed starts until this moment."""
    starts = _entries(heir, lambda e: not is_end(e) and not is_named(e) and e[0] <= heard.entry[0])
    if starts:
        _tell(heir, _entries(heir, lambda e: e not in starts))
    return starts


def _is_last(case: Case, operation: Operation) -> bool:
    """Tell whether `last_*` are this operation's: nothing that ended follows it, and nothing that was asked for."""
    return not any(_follows(other, operation) for other in _syncs(case) if other is not operation)


def _follows(other: Operation, operation: Operation) -> bool:
    if other.is_open:
        return other.origin == operation.origin == "user" and other.id > operation.id
    place, others = place_of(operation), place_of(other)
    is_asked = other.origin == "user" and other.id > operation.id
    if is_asked or place is None or others is None:
        return other.id > operation.id
    return (others, other.id) > (place, operation.id)


def _heir(heard: Heard) -> Operation | None:
    """Return what a moment belongs to by itself: the first operation that ended then or later, else what is open."""
    running, ended = (
        heard.case.open("sync"),
        [
            (place, operation.id, operation)
            for operation in _syncs(heard.case)
            if not operation.is_open and (place := place_of(operation)) is not None and place >= heard.at
        ],
    )
    first = min(ended, default=None)
    if first is None or (running is not None and _began_before(running, first[0])):
        return running
    return first[2]


def _began_before(operation: Operation, at: datetime) -> bool:
    """Tell whether this is an open sync of the service's own of which nothing was told since; its end is on its way."""
    is_own = operation.is_open and operation.origin == "service"
    return is_own and operation.last_reported_at is not None and operation.last_reported_at <= at


def _may_be_of(operation: Operation, at: datetime) -> bool:
    """Tell whether a report that names nothing may speak of this one."""
    if operation.origin == "service":
        return True
    return operation.was_sent and (operation.asked_after is None or at > operation.asked_after)


def _syncs(case: Case) -> Sequence[Operation]:
    return [operation for operation in case.operations.values() if operation.kind == "sync"]


def _entries(operation: Operation | None, are_wanted: Callable[[Entry], bool]) -> Entries:
    return [] if operation is None else [entry for entry in operation.reports or [] if are_wanted(entry)]
