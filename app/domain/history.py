"""Dated reports of syncs: the same rows in the end, whatever the order, however many copies. Pure.

An end is known by its time. A sync of the service's own has the starts between the end before it and its own end. A
sync that somebody asked for has the end that names it, or else the first one after it was asked for. What comes late
finds its place in what is known already. See `docs/decisions/0025-one-history-in-any-order.md`.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta

from app.domain import endings
from app.domain.cases import Case, Operation
from app.domain.messages import Report
from app.domain.places import (
    FreshId,
    Heard,
    advance,
    began_before,
    heir_of,
    id_at,
    is_last,
    may_be_of,
    newest_id,
    opened,
    place_of,
    syncs_of,
)
from app.domain.timeline import (
    Entries,
    add,
    added,
    chosen,
    end_of,
    entries_of,
    entry_of,
    extended,
    moment_of,
    take_starts,
    tell,
    text_of,
)
from app.domain.transitions import ANSWERED, UNANSWERED, move, record_answer


def apply(case: Case, report: Report, at: datetime, *, fresh_id: FreshId, silence: timedelta, now: datetime) -> bool:
    """Apply a report of that moment; False if it is late or a copy, and then nothing visible changes."""
    heard = Heard(case, report, at, entry_of(report, at), fresh_id, silence, now)
    is_news = _hear(heard)
    if len(case.operations) > 1:
        # Starts, and with them counts, may have gone from one sync to another.
        for operation in syncs_of(case):
            _retell_if_last(heard, operation)
    return is_news


def _hear(heard: Heard) -> bool:
    case, report = heard.case, heard.report
    named = None if report.operation_id is None else case.operations[report.operation_id]
    if named is not None and named.state == "replaced":
        return False
    is_newest = advance(heard)
    target = named or (case.open("sync") if is_newest else None)
    if report.trigger == "started":
        # Nothing that has ended did so after the newest start.
        return _start(heard, target if is_newest else named or heir_of(heard), named)
    # The common case, by the shortest way: the end of what is open.
    if is_newest and target is not None and target.is_open and (named or may_be_of(target, heard.at)):
        return _take(heard, target)
    return _named_end(heard, named) if named is not None else _unnamed_end(heard)


def _start(heard: Heard, host: Operation | None, named: Operation | None) -> bool:
    if host is None:
        host = opened(heard.case, "sync", newest_id(heard.case, "sync", heard.fresh_id), now=heard.now)
    elif named is None and not may_be_of(host, heard.at):
        # It is of a sync that there is no row of yet: kept for its end.
        host.reports = text_of(added(entries_of(host), heard.entry))
        return False
    return _run(heard, host) if host.is_open else _start_of_ended(heard, host, named)


def _run(heard: Heard, operation: Operation) -> bool:
    """Let an open operation take a start, or progress."""
    begins, counted = operation.state != "running", add(operation, heard.entry)
    is_newer = operation.last_reported_at is None or heard.at > operation.last_reported_at
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
    if named is not None and end is not None and heard.entry.at > end.at:
        if end.is_named:
            return False
        if heard.case.open("sync") is None:
            return _reopen(heard, operation)
    before, counted = operation.reports, add(operation, heard.entry)
    if operation.reports == before:
        return False
    begins = operation.started_at is None and (named is not None or operation.state in ANSWERED)
    if begins:
        operation.started_at = heard.now
    if begins or counted:
        _retell_if_last(heard, operation)
        heard.case.note("sync.started" if begins else "sync.progress", operation=operation)
    return begins or counted


def _unnamed_end(heard: Heard) -> bool:
    twin = next((o for o in syncs_of(heard.case) if _ended_then(o, heard)), None)
    if twin is not None:
        return _merge(heard, twin)
    heir = heir_of(heard)
    if heir is not None and _takes(heir, heard):
        return _take(heard, heir)
    starts = _all_starts_until(heard)
    missed = None if starts else _missed(heard, heir)
    return _insert(heard, starts, heir) if missed is None else _take(heard, missed)


def _named_end(heard: Heard, operation: Operation) -> bool:
    if operation.state in ANSWERED:
        end = end_of(operation)
        if end is None or (end.is_named and end.at < heard.entry.at):
            return False
        if end.at == heard.entry.at:
            return _merge(heard, operation)
    heir = heir_of(heard)
    if heir is not None and heir is not operation and not began_before(heir, heard.at):
        # Starts before this end are not of what comes after it.
        for start in take_starts(heir, until=heard.entry.at):
            operation.reports = text_of(added(entries_of(operation), start))
    return _take(heard, operation)


def _ended_then(operation: Operation, heard: Heard) -> bool:
    if operation.state not in ANSWERED:
        return False
    end = end_of(operation)
    # A row of an earlier release has no reports.
    return operation.last_reported_at == heard.at if end is None else end.at == heard.entry.at


def _merge(heard: Heard, operation: Operation) -> bool:
    """Let two ends of one instant be one: what names the operation holds, else the failure, else the first in words."""
    end, report = end_of(operation), heard.report
    if end is None or (end.is_named and not heard.entry.is_named):
        return False
    counted = add(operation, heard.entry)
    known, told = (operation.state, operation.error or ""), (report.trigger, report.error or "")
    changes = told < known or (told != known and heard.entry.is_named and not end.is_named)
    if changes:
        operation.state, operation.error = report.trigger, report.error
        _record_if_last(heard, operation)
    if changes or counted:
        _retell_if_last(heard, operation)
        heard.case.note(f"sync.{report.trigger if changes else 'progress'}", operation=operation)
    return changes or counted


def _takes(heir: Operation, heard: Heard) -> bool:
    """Tell whether an unnamed end is that of the operation in whose time it falls."""
    at = heard.entry.at
    if heir.state == "replaced" or not may_be_of(heir, heard.at):
        return False
    entries = entries_of(heir)
    if heir.origin == "service":
        begun = any(entry.at <= at for entry in entries if not entry.is_end)
        if heir.is_open:
            return begun or not entries
        # It keeps its beginning if that has been told of; else its end.
        return begun and (heir.reported_late or heir.state in UNANSWERED)
    end = end_of(heir)
    if heir.state in ANSWERED and (end is None or end.is_named):
        return False
    return not any(entry.is_named and entry.at > at for entry in entries)


def _missed(heard: Heard, heir: Operation | None) -> Operation | None:
    """Return the operation just before, if it ended without an answer: this is the answer."""
    earlier = [o for o in syncs_of(heard.case) if not o.is_open and (heir is None or o.id < heir.id)]
    last = max(earlier, key=lambda o: o.id, default=None)
    is_missed = last is not None and last.state in UNANSWERED and may_be_of(last, heard.at)
    return last if is_missed else None


def _take(heard: Heard, operation: Operation) -> bool:
    """Let an operation have this end. What it had of another's goes on as a sync of the service's own."""
    if operation.is_open and (reports := extended(operation.reports, heard.entry)) is not None:
        # The common case, by the shortest way: nothing that it was told is of another's.
        return _end_open(heard, operation, reports)
    mine, theirs = _divided(operation, heard.entry.at)
    before = copy(operation)
    _finish(heard, operation, mine)
    other = _parted(heard, before, operation, theirs) if theirs else None
    _record_if_last(heard, operation)
    if (before.state, before.error) != (operation.state, operation.error):
        heard.case.note(f"sync.{heard.report.trigger}", operation=operation)
    if other is not None:
        _note_all(heard, other)
    return True


def _divided(operation: Operation, at: int) -> tuple[Entries, Entries]:
    """Return what an operation with an end at that moment keeps, and what was of another's; its old end goes, too."""
    end = end_of(operation)
    if end is not None and end.at < at:
        theirs = chosen(operation, lambda e: not e.is_named and e.at <= end.at)
    elif end is None or not end.is_named:
        theirs = chosen(operation, lambda e: not e.is_named and e.at > at)
    else:
        theirs = []
    return chosen(operation, lambda e: not e.is_end and e.at <= at and e not in theirs), theirs


def _insert(heard: Heard, starts: Entries, heir: Operation | None) -> bool:
    """Add a sync of the service's own, with these starts, before the one in whose time it ended."""
    if heir is not None and heir.origin == "user":
        heir.asked_after = max(heir.asked_after or heard.at, heard.at)
    operation = opened(heard.case, "sync", id_at(heard, heard.at), now=heard.now)
    operation.started_at = heard.now if starts else None
    _finish(heard, operation, starts)
    _record_if_last(heard, operation)
    _note_all(heard, operation)
    return True


def _reopen(heard: Heard, operation: Operation) -> bool:
    """Let an operation run: it was ended by an end that did not name it, and started after that."""
    before, end = copy(operation), end_of(operation)
    theirs = chosen(operation, lambda e: end is not None and not e.is_named and e.at <= end.at)
    operation.state, operation.error, operation.finished_at = "running", None, None
    operation.reported_late, operation.last_reported_at = False, heard.at
    tell(operation, added(chosen(operation, lambda e: e not in theirs), heard.entry))
    operation.started_at, operation.deadline_at = operation.started_at or heard.now, heard.now + heard.silence
    _note_all(heard, _parted(heard, before, operation, theirs))
    heard.case.note("sync.started", operation=operation)
    return True


def _finish(heard: Heard, operation: Operation, entries: Entries) -> None:
    """Write this end into an operation, beside what else it was told."""
    operation.reported_late = operation.reported_late or operation.state in UNANSWERED
    if not move(operation, heard.report.trigger, now=heard.now):
        operation.state = heard.report.trigger
    operation.error, operation.last_reported_at = heard.report.error, heard.at
    tell(operation, added(entries, heard.entry))


def _end_open(heard: Heard, operation: Operation, reports: str) -> bool:
    move(operation, heard.report.trigger, now=heard.now)
    operation.error, operation.last_reported_at, operation.reports = heard.report.error, heard.at, reports
    if heard.entry.documents is not None:
        operation.documents_processed = heard.entry.documents
    _record_if_last(heard, operation)
    heard.case.note(f"sync.{heard.report.trigger}", operation=operation)
    return True


def _record_if_last(heard: Heard, operation: Operation) -> None:
    if is_last(heard.case, operation):
        record_answer(heard.case.connection, heard.report, operation, now=heard.now)


def _retell_if_last(heard: Heard, operation: Operation) -> None:
    """Let the connection tell of its last sync what it is now: that has changed since it ended."""
    if operation.state not in ANSWERED | UNANSWERED or not is_last(heard.case, operation):
        return
    connection = heard.case.connection
    connection.last_sync_documents = operation.documents_processed
    if operation.state in ANSWERED:
        connection.last_sync_ending = endings.answered(operation.state, late=operation.reported_late)


def _parted(heard: Heard, before: Operation, operation: Operation, entries: Entries) -> Operation:
    """Return a sync of the service's own with what an operation was told of another: it goes on as that one was."""
    moment = moment_of(entries[-1])
    other = opened(heard.case, "sync", id_at(heard, moment), now=heard.now)
    tell(other, entries)
    other.last_reported_at = moment
    if before.is_open:
        other.state, other.deadline_at = "running", heard.now + heard.silence
    else:
        other.state, other.error, other.finished_at = before.state, before.error, before.finished_at
    if any(not entry.is_end for entry in entries):
        other.started_at = heard.now
    if operation.origin == "user" and moment < heard.at:
        operation.asked_after = max(operation.asked_after or moment, moment)
    return other


def _note_all(heard: Heard, operation: Operation) -> None:
    """Note what is new of a new operation: its start, if it has one, and its end."""
    if operation.started_at is not None:
        heard.case.note("sync.started", operation=operation)
    if not operation.is_open:
        heard.case.note(f"sync.{operation.state}", operation=operation)


def _all_starts_until(heard: Heard) -> Entries:
    """Take the unnamed starts until this moment from all that had not ended by then: they are of an end at it."""
    starts: Entries = []
    for operation in syncs_of(heard.case):
        if operation.is_open or (place_of(operation) or heard.at) > heard.at:
            for start in take_starts(operation, until=heard.entry.at):
                starts = added(starts, start)
    return starts
