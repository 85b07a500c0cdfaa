"""Dated reports of syncs: the same rows in the end, whatever the order, however many copies. Pure.

An end is known by its time. A sync of the service's own has the starts between the end before it and its own end. A
sync that somebody asked for has the end that names it, or else the first one after it was asked for. What comes late
finds its place in what is known already. See `docs/decisions/0025-one-history-in-any-order.md`.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta

from app.domain import endings
from app.domain.aggregate import ConnectionAggregate, Operation
from app.domain.report_log import (
    ReportEntries,
    add_report_entry,
    append_entry_to_text,
    end_entry_of,
    entry_time,
    filter_report_entries,
    format_report_entries,
    report_entries_of,
    report_entry,
    set_report_entries,
    take_unnamed_starts,
    with_entry,
)
from app.domain.status_messages import Report
from app.domain.sync_order import (
    NewIdFactory,
    ReportContext,
    advance_clock_if_newest,
    id_for_end_at,
    id_for_new_operation,
    is_last_sync,
    is_open_service_sync_started_before,
    newest_service_time_of,
    open_service_operation,
    operation_covering_report_time,
    sync_operations,
    unnamed_report_may_concern,
)
from app.domain.transitions import ANSWERED_STATES, UNANSWERED_STATES, record_answer_on_connection, transition


def apply_dated_report(
    aggregate: ConnectionAggregate,
    report: Report,
    reported_at: datetime,
    *,
    new_id: NewIdFactory,
    silence_limit: timedelta,
    now: datetime,
) -> bool:
    """Apply a report of that moment; False if it is late or a copy, and then nothing visible changes."""
    context = ReportContext(
        aggregate, report, reported_at, report_entry(report, reported_at), new_id, silence_limit, now
    )
    has_effect = _apply(context)
    if len(aggregate.operations) > 1:
        # Starts, and with them counts, may have gone from one sync to another.
        for operation in sync_operations(aggregate):
            _update_connection_if_last_sync(context, operation)
    return has_effect


def _apply(context: ReportContext) -> bool:
    aggregate, report = context.aggregate, context.report
    named_operation = None if report.operation_id is None else aggregate.operations[report.operation_id]
    if named_operation is not None and named_operation.state == "replaced":
        return False
    is_newest = advance_clock_if_newest(context)
    target = named_operation or (aggregate.open_operation("sync") if is_newest else None)
    if report.trigger == "started":
        # Nothing that has ended did so after the newest start.
        return _apply_start(
            context,
            target if is_newest else named_operation or operation_covering_report_time(context),
            named_operation,
        )
    # The common case, by the shortest way: the end of what is open.
    if (
        is_newest
        and target is not None
        and target.is_open
        and (named_operation or unnamed_report_may_concern(target, context.reported_at))
    ):
        return _end_sync(context, target)
    return (
        _apply_end_with_operation_id(context, named_operation)
        if named_operation is not None
        else _apply_end_without_operation_id(context)
    )


def _apply_start(context: ReportContext, target_operation: Operation | None, named_operation: Operation | None) -> bool:
    if target_operation is None:
        target_operation = open_service_operation(
            context.aggregate, "sync", id_for_new_operation(context.aggregate, "sync", context.new_id), now=context.now
        )
    elif named_operation is None and not unnamed_report_may_concern(target_operation, context.reported_at):
        # It is of a sync that there is no row of yet: kept for its end.
        target_operation.reports = format_report_entries(with_entry(report_entries_of(target_operation), context.entry))
        return False
    return (
        _start_or_progress(context, target_operation)
        if target_operation.is_open
        else _apply_start_to_ended_sync(context, target_operation, named_operation)
    )


def _start_or_progress(context: ReportContext, operation: Operation) -> bool:
    """Let an open operation take a start, or progress."""
    begins, counted = operation.state != "running", add_report_entry(operation, context.entry)
    is_newer = operation.last_reported_at is None or context.reported_at > operation.last_reported_at
    if not (begins or is_newer or counted):
        return False
    transition(operation, "started", now=context.now)
    operation.started_at = operation.started_at or context.now
    if is_newer:
        operation.last_reported_at = context.reported_at
    if begins or is_newer:
        operation.deadline_at = context.now + context.silence_limit
    context.aggregate.record_change("sync.started" if begins else "sync.progress", operation=operation)
    return True


def _apply_start_to_ended_sync(context: ReportContext, operation: Operation, named_operation: Operation | None) -> bool:
    """Let an operation that has ended take a start: it changes what is told of it, and no state."""
    end = end_entry_of(operation)
    if named_operation is not None and end is not None and context.entry.at_microsecond > end.at_microsecond:
        if end.is_named:
            return False
        if context.aggregate.open_operation("sync") is None:
            return _reopen_sync(context, operation)
    previous, counted = operation.reports, add_report_entry(operation, context.entry)
    if operation.reports == previous:
        return False
    begins = operation.started_at is None and (named_operation is not None or operation.state in ANSWERED_STATES)
    if begins:
        operation.started_at = context.now
    if begins or counted:
        _update_connection_if_last_sync(context, operation)
        context.aggregate.record_change("sync.started" if begins else "sync.progress", operation=operation)
    return begins or counted


def _apply_end_without_operation_id(context: ReportContext) -> bool:
    same_end = next((o for o in sync_operations(context.aggregate) if _ended_at_same_time(o, context)), None)
    if same_end is not None:
        return _merge_ends_of_same_time(context, same_end)
    covering_sync = operation_covering_report_time(context)
    if covering_sync is not None and _end_belongs_to(covering_sync, context):
        return _end_sync(context, covering_sync)
    starts = _take_starts_before_end(context)
    missed = None if starts else _unanswered_sync_before(context, covering_sync)
    return _insert_ended_sync(context, starts, covering_sync) if missed is None else _end_sync(context, missed)


def _apply_end_with_operation_id(context: ReportContext, operation: Operation) -> bool:
    if operation.state in ANSWERED_STATES:
        end = end_entry_of(operation)
        if end is None or (end.is_named and end.at_microsecond < context.entry.at_microsecond):
            return False
        if end.at_microsecond == context.entry.at_microsecond:
            return _merge_ends_of_same_time(context, operation)
    covering_sync = operation_covering_report_time(context)
    if (
        covering_sync is not None
        and covering_sync is not operation
        and not is_open_service_sync_started_before(covering_sync, context.reported_at)
    ):
        # Starts before this end are not of what comes after it.
        for start in take_unnamed_starts(covering_sync, until_microsecond=context.entry.at_microsecond):
            operation.reports = format_report_entries(with_entry(report_entries_of(operation), start))
    return _end_sync(context, operation)


def _ended_at_same_time(operation: Operation, context: ReportContext) -> bool:
    if operation.state not in ANSWERED_STATES:
        return False
    end = end_entry_of(operation)
    # A row of an earlier release has no reports.
    return (
        operation.last_reported_at == context.reported_at
        if end is None
        else end.at_microsecond == context.entry.at_microsecond
    )


def _merge_ends_of_same_time(context: ReportContext, operation: Operation) -> bool:
    """Let two ends of one instant be one: what names the operation holds, else the failure, else the first in words."""
    end, report = end_entry_of(operation), context.report
    if end is None or (end.is_named and not context.entry.is_named):
        return False
    counted = add_report_entry(operation, context.entry)
    known, told = (operation.state, operation.error or ""), (report.trigger, report.error or "")
    changes = told < known or (told != known and context.entry.is_named and not end.is_named)
    if changes:
        operation.state, operation.error = report.trigger, report.error
        _record_answer_if_last_sync(context, operation)
    if changes or counted:
        _update_connection_if_last_sync(context, operation)
        context.aggregate.record_change(f"sync.{report.trigger if changes else 'progress'}", operation=operation)
    return changes or counted


def _end_belongs_to(covering_sync: Operation, context: ReportContext) -> bool:
    """Tell whether an unnamed end is that of the operation in whose time it falls."""
    at = context.entry.at_microsecond
    if covering_sync.state == "replaced" or not unnamed_report_may_concern(covering_sync, context.reported_at):
        return False
    entries = report_entries_of(covering_sync)
    if covering_sync.origin == "service":
        begun = any(entry.at_microsecond <= at for entry in entries if not entry.is_end)
        if covering_sync.is_open:
            return begun or not entries
        # It keeps its beginning if that has been told of; else its end.
        return begun and (covering_sync.reported_late or covering_sync.state in UNANSWERED_STATES)
    end = end_entry_of(covering_sync)
    if covering_sync.state in ANSWERED_STATES and (end is None or end.is_named):
        return False
    return not any(entry.is_named and entry.at_microsecond > at for entry in entries)


def _unanswered_sync_before(context: ReportContext, covering_sync: Operation | None) -> Operation | None:
    """Return the operation just before, if it ended without an answer: this is the answer."""
    earlier = [
        o
        for o in sync_operations(context.aggregate)
        if not o.is_open and (covering_sync is None or o.id < covering_sync.id)
    ]
    last = max(earlier, key=lambda o: o.id, default=None)
    is_missed = (
        last is not None and last.state in UNANSWERED_STATES and unnamed_report_may_concern(last, context.reported_at)
    )
    return last if is_missed else None


def _end_sync(context: ReportContext, operation: Operation) -> bool:
    """Let an operation have this end. What it had of another's goes on as a sync of the service's own."""
    if operation.is_open and (reports := append_entry_to_text(operation.reports, context.entry)) is not None:
        # The common case, by the shortest way: nothing that it was told is of another's.
        return _end_open_sync(context, operation, reports)
    own_entries, other_entries = _split_entries_at_end(operation, context.entry.at_microsecond)
    previous = copy(operation)
    _write_end(context, operation, own_entries)
    other_sync = _split_off_sync(context, previous, operation, other_entries) if other_entries else None
    _record_answer_if_last_sync(context, operation)
    if (previous.state, previous.error) != (operation.state, operation.error):
        context.aggregate.record_change(f"sync.{context.report.trigger}", operation=operation)
    if other_sync is not None:
        _record_start_and_end_changes(context, other_sync)
    return True


def _split_entries_at_end(operation: Operation, ended_at: int) -> tuple[ReportEntries, ReportEntries]:
    """Return what an operation with an end at that moment keeps, and what was of another's; its old end goes, too."""
    end = end_entry_of(operation)
    if end is not None and end.at_microsecond < ended_at:
        other_entries = filter_report_entries(
            operation, lambda e: not e.is_named and e.at_microsecond <= end.at_microsecond
        )
    elif end is None or not end.is_named:
        other_entries = filter_report_entries(operation, lambda e: not e.is_named and e.at_microsecond > ended_at)
    else:
        other_entries = []
    return filter_report_entries(
        operation, lambda e: not e.is_end and e.at_microsecond <= ended_at and e not in other_entries
    ), other_entries


def _insert_ended_sync(context: ReportContext, starts: ReportEntries, covering_sync: Operation | None) -> bool:
    """Add a sync of the service's own, with these starts, before the one in whose time it ended."""
    if covering_sync is not None and covering_sync.origin == "user":
        covering_sync.asked_after = max(covering_sync.asked_after or context.reported_at, context.reported_at)
    operation = open_service_operation(
        context.aggregate, "sync", id_for_end_at(context, context.reported_at), now=context.now
    )
    operation.started_at = context.now if starts else None
    _write_end(context, operation, starts)
    _record_answer_if_last_sync(context, operation)
    _record_start_and_end_changes(context, operation)
    return True


def _reopen_sync(context: ReportContext, operation: Operation) -> bool:
    """Let an operation run: it was ended by an end that did not name it, and started after that."""
    previous, end = copy(operation), end_entry_of(operation)
    other_entries = filter_report_entries(
        operation, lambda e: end is not None and not e.is_named and e.at_microsecond <= end.at_microsecond
    )
    operation.state, operation.error, operation.finished_at = "running", None, None
    operation.reported_late, operation.last_reported_at = False, context.reported_at
    set_report_entries(
        operation, with_entry(filter_report_entries(operation, lambda e: e not in other_entries), context.entry)
    )
    operation.started_at, operation.deadline_at = (
        operation.started_at or context.now,
        context.now + context.silence_limit,
    )
    _record_start_and_end_changes(context, _split_off_sync(context, previous, operation, other_entries))
    context.aggregate.record_change("sync.started", operation=operation)
    return True


def _write_end(context: ReportContext, operation: Operation, entries: ReportEntries) -> None:
    """Write this end into an operation, beside what else it was told."""
    operation.reported_late = operation.reported_late or operation.state in UNANSWERED_STATES
    if not transition(operation, context.report.trigger, now=context.now):
        operation.state = context.report.trigger
    operation.error, operation.last_reported_at = context.report.error, context.reported_at
    set_report_entries(operation, with_entry(entries, context.entry))


def _end_open_sync(context: ReportContext, operation: Operation, reports: str) -> bool:
    transition(operation, context.report.trigger, now=context.now)
    operation.error, operation.last_reported_at, operation.reports = (
        context.report.error,
        context.reported_at,
        reports,
    )
    if context.entry.documents is not None:
        operation.documents_processed = context.entry.documents
    _record_answer_if_last_sync(context, operation)
    context.aggregate.record_change(f"sync.{context.report.trigger}", operation=operation)
    return True


def _record_answer_if_last_sync(context: ReportContext, operation: Operation) -> None:
    if is_last_sync(context.aggregate, operation):
        record_answer_on_connection(context.aggregate.connection, context.report, operation, now=context.now)


def _update_connection_if_last_sync(context: ReportContext, operation: Operation) -> None:
    """Let the connection tell of its last sync what it is now: that has changed since it ended."""
    if operation.state not in ANSWERED_STATES | UNANSWERED_STATES or not is_last_sync(context.aggregate, operation):
        return
    connection = context.aggregate.connection
    connection.last_sync_documents = operation.documents_processed
    if operation.state in ANSWERED_STATES:
        connection.last_sync_ending = endings.ending_name_for_answer(operation.state, is_late=operation.reported_late)


def _split_off_sync(
    context: ReportContext, previous: Operation, operation: Operation, entries: ReportEntries
) -> Operation:
    """Return a sync of the service's own with what an operation was told of another: it goes on as that one was."""
    moment = entry_time(entries[-1])
    other_sync = open_service_operation(context.aggregate, "sync", id_for_end_at(context, moment), now=context.now)
    set_report_entries(other_sync, entries)
    other_sync.last_reported_at = moment
    if previous.is_open:
        other_sync.state, other_sync.deadline_at = "running", context.now + context.silence_limit
    else:
        other_sync.state, other_sync.error, other_sync.finished_at = (
            previous.state,
            previous.error,
            previous.finished_at,
        )
    if any(not entry.is_end for entry in entries):
        other_sync.started_at = context.now
    if operation.origin == "user" and moment < context.reported_at:
        operation.asked_after = max(operation.asked_after or moment, moment)
    return other_sync


def _record_start_and_end_changes(context: ReportContext, operation: Operation) -> None:
    """Note what is new of a new operation: its start, if it has one, and its end."""
    if operation.started_at is not None:
        context.aggregate.record_change("sync.started", operation=operation)
    if not operation.is_open:
        context.aggregate.record_change(f"sync.{operation.state}", operation=operation)


def _take_starts_before_end(context: ReportContext) -> ReportEntries:
    """Take the unnamed starts until this moment from all that had not ended by then: they are of an end at it."""
    starts: ReportEntries = []
    for operation in sync_operations(context.aggregate):
        if operation.is_open or (newest_service_time_of(operation) or context.reported_at) > context.reported_at:
            for start in take_unnamed_starts(operation, until_microsecond=context.entry.at_microsecond):
                starts = with_entry(starts, start)
    return starts
