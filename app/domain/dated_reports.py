"""Dated reports of syncs: the same rows in the end, whatever the order, however many copies. Pure.

An end is known by its time. A sync of the service's own has the starts between the end before it and its own end. A
sync that somebody asked for has the end that names it, or else the first one after it was asked for. What comes late
finds its place in what is known already. See `docs/decisions/0025-one-history-in-any-order.md`.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta

from app.domain import endings, report_log, sync_order
from app.domain.aggregate import ConnectionAggregate, Operation
from app.domain.report_log import ReportEntries, ReportEntry, end_entry_of, entries_of, set_entries, with_entry
from app.domain.status_messages import Report
from app.domain.sync_order import NewIdFactory, ReportContext
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
    entry = report_log.report_entry(report, reported_at)
    context = ReportContext(aggregate, report, reported_at, entry, new_id, silence_limit, now)
    has_effect = _apply(context)
    if len(aggregate.operations) > 1:
        # Starts, and with them counts, may have gone from one sync to another.
        for operation in sync_order.sync_operations(aggregate):
            _update_connection_if_last_sync(context, operation)
    return has_effect


def _apply(context: ReportContext) -> bool:
    aggregate, report = context.aggregate, context.report
    named = None if report.operation_id is None else aggregate.operations[report.operation_id]
    if named is not None and named.state == "replaced":
        return False
    is_newest = sync_order.advance_clock_if_newest(context)
    target = named or (aggregate.open_operation("sync") if is_newest else None)
    if report.trigger == "started":
        # Nothing that has ended did so after the newest start.
        started = target if is_newest else named or sync_order.operation_covering_report_time(context)
        return _apply_start(context, started, named)
    if is_newest and target and target.is_open and (named or sync_order.unnamed_report_may_concern(target, context)):
        # The common case, by the shortest way: the end of what is open.
        return _end_sync(context, target)
    return _apply_end_with_operation_id(context, named) if named else _apply_end_without_operation_id(context)


def _apply_start(context: ReportContext, target: Operation | None, named: Operation | None) -> bool:
    if target is None:
        id_ = sync_order.id_for_new_operation(context.aggregate, "sync", context.new_id)
        target = sync_order.open_service_operation(context.aggregate, "sync", id_, now=context.now)
    elif named is None and not sync_order.unnamed_report_may_concern(target, context):
        # It is of a sync that there is no row of yet: kept for its end.
        target.reports = report_log.format_entries(with_entry(entries_of(target), context.entry))
        return False
    return _start_or_progress(context, target) if target.is_open else _apply_start_to_ended(context, target, named)


def _start_or_progress(context: ReportContext, operation: Operation) -> bool:
    """Let an open operation take a start, or progress."""
    begins, counted = operation.state != "running", report_log.add_entry(operation, context.entry)
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


def _apply_start_to_ended(context: ReportContext, operation: Operation, named: Operation | None) -> bool:
    """Let an operation that has ended take a start: it changes what is told of it, and no state."""
    end = end_entry_of(operation)
    if named is not None and end is not None and context.entry.at > end.at:
        if end.is_named:
            return False
        if context.aggregate.open_operation("sync") is None:
            return _reopen_sync(context, operation, end)
    previous, counted = operation.reports, report_log.add_entry(operation, context.entry)
    if operation.reports == previous:
        return False
    begins = operation.started_at is None and (named is not None or operation.state in ANSWERED_STATES)
    if begins:
        operation.started_at = context.now
    if begins or counted:
        _update_connection_if_last_sync(context, operation)
        context.aggregate.record_change("sync.started" if begins else "sync.progress", operation=operation)
    return begins or counted


def _apply_end_without_operation_id(context: ReportContext) -> bool:
    syncs = sync_order.sync_operations(context.aggregate)
    same_end = next((sync for sync in syncs if sync_order.ended_at_same_time(sync, context)), None)
    if same_end is not None:
        return _merge_ends_of_same_time(context, same_end)
    covering_sync = sync_order.operation_covering_report_time(context)
    if covering_sync is not None and sync_order.end_belongs_to(covering_sync, context):
        return _end_sync(context, covering_sync)
    starts = _take_starts_before_end(context)
    missed = None if starts else sync_order.unanswered_sync_before(context, covering_sync)
    return _insert_ended_sync(context, starts, covering_sync) if missed is None else _end_sync(context, missed)


def _apply_end_with_operation_id(context: ReportContext, operation: Operation) -> bool:
    if operation.state in ANSWERED_STATES:
        end = end_entry_of(operation)
        if end is None or (end.is_named and end.at < context.entry.at):
            return False
        if end.at == context.entry.at:
            return _merge_ends_of_same_time(context, operation)
    covering = sync_order.operation_covering_report_time(context)
    if covering is None or covering is operation:
        return _end_sync(context, operation)
    if not sync_order.is_open_service_sync_before(covering, context.reported_at):
        # Starts before this end are not of what comes after it.
        for start in report_log.take_unnamed_starts(covering, until=context.entry.at):
            operation.reports = report_log.format_entries(with_entry(entries_of(operation), start))
    return _end_sync(context, operation)


def _merge_ends_of_same_time(context: ReportContext, operation: Operation) -> bool:
    """Let two ends of one instant be one: what names the operation holds, else the failure, else the first in words."""
    end, report = end_entry_of(operation), context.report
    if end is None or (end.is_named and not context.entry.is_named):
        return False
    counted = report_log.add_entry(operation, context.entry)
    known, told = (operation.state, operation.error or ""), (report.trigger, report.error or "")
    changes = told < known or (told != known and context.entry.is_named and not end.is_named)
    if changes:
        operation.state, operation.error = report.trigger, report.error
        _record_answer_if_last_sync(context, operation)
    if changes or counted:
        _update_connection_if_last_sync(context, operation)
        context.aggregate.record_change(f"sync.{report.trigger if changes else 'progress'}", operation=operation)
    return changes or counted


def _end_sync(context: ReportContext, operation: Operation) -> bool:
    """Let an operation have this end. What it had of another's goes on as a sync of the service's own."""
    if operation.is_open and (reports := report_log.append_entry_to_text(operation.reports, context.entry)) is not None:
        # The common case, by the shortest way: nothing that it was told is of another's.
        return _end_open_sync(context, operation, reports)
    own, others = _split_entries_at_end(operation, context.entry.at)
    previous = copy(operation)
    _write_end(context, operation, own)
    other_sync = _split_off_sync(context, previous, operation, others) if others else None
    _record_answer_if_last_sync(context, operation)
    if (previous.state, previous.error) != (operation.state, operation.error):
        context.aggregate.record_change(f"sync.{context.report.trigger}", operation=operation)
    if other_sync is not None:
        _record_start_and_end_changes(context, other_sync)
    return True


def _split_entries_at_end(operation: Operation, ended_at: int) -> tuple[ReportEntries, ReportEntries]:
    """Return what an operation with an end at that moment keeps, and what was of another's; its old end goes, too."""
    end, entries = end_entry_of(operation), entries_of(operation)
    unnamed = [entry for entry in entries if not entry.is_named]
    if end is not None and end.at < ended_at:
        others = [entry for entry in unnamed if entry.at <= end.at]
    elif end is None or not end.is_named:
        others = [entry for entry in unnamed if entry.at > ended_at]
    else:
        others = []
    return [entry for entry in entries if not entry.is_end and entry.at <= ended_at and entry not in others], others


def _insert_ended_sync(context: ReportContext, starts: ReportEntries, covering_sync: Operation | None) -> bool:
    """Add a sync of the service's own, with these starts, before the one in whose time it ended."""
    if covering_sync is not None and covering_sync.origin == "user":
        covering_sync.asked_after = max(covering_sync.asked_after or context.reported_at, context.reported_at)
    id_ = sync_order.id_for_end_at(context, context.reported_at)
    operation = sync_order.open_service_operation(context.aggregate, "sync", id_, now=context.now)
    operation.started_at = context.now if starts else None
    _write_end(context, operation, starts)
    _record_answer_if_last_sync(context, operation)
    _record_start_and_end_changes(context, operation)
    return True


def _reopen_sync(context: ReportContext, operation: Operation, end: ReportEntry) -> bool:
    """Let an operation run: it was ended by an end that did not name it, and started after that."""
    previous, entries = copy(operation), entries_of(operation)
    others = [entry for entry in entries if not entry.is_named and entry.at <= end.at]
    operation.state, operation.error, operation.finished_at = "running", None, None
    operation.reported_late, operation.last_reported_at = False, context.reported_at
    set_entries(operation, with_entry([entry for entry in entries if entry not in others], context.entry))
    operation.started_at = operation.started_at or context.now
    operation.deadline_at = context.now + context.silence_limit
    _record_start_and_end_changes(context, _split_off_sync(context, previous, operation, others))
    context.aggregate.record_change("sync.started", operation=operation)
    return True


def _write_end(context: ReportContext, operation: Operation, entries: ReportEntries) -> None:
    """Write this end into an operation, beside what else it was told."""
    operation.reported_late = operation.reported_late or operation.state in UNANSWERED_STATES
    if not transition(operation, context.report.trigger, now=context.now):
        operation.state = context.report.trigger
    operation.error, operation.last_reported_at = context.report.error, context.reported_at
    set_entries(operation, with_entry(entries, context.entry))


def _end_open_sync(context: ReportContext, operation: Operation, reports: str) -> bool:
    transition(operation, context.report.trigger, now=context.now)
    operation.error, operation.last_reported_at = context.report.error, context.reported_at
    operation.reports = reports
    if context.entry.documents is not None:
        operation.documents_processed = context.entry.documents
    _record_answer_if_last_sync(context, operation)
    context.aggregate.record_change(f"sync.{context.report.trigger}", operation=operation)
    return True


def _record_answer_if_last_sync(context: ReportContext, operation: Operation) -> None:
    if sync_order.is_last_sync(context.aggregate, operation):
        record_answer_on_connection(context.aggregate.connection, context.report, operation, now=context.now)


def _update_connection_if_last_sync(context: ReportContext, operation: Operation) -> None:
    """Let the connection tell of its last sync what it is now: that has changed since it ended."""
    has_ended = operation.state in ANSWERED_STATES | UNANSWERED_STATES
    if not has_ended or not sync_order.is_last_sync(context.aggregate, operation):
        return
    connection = context.aggregate.connection
    connection.last_sync_documents = operation.documents_processed
    if operation.state in ANSWERED_STATES:
        connection.last_sync_ending = endings.ending_name_for_answer(operation.state, is_late=operation.reported_late)


def _split_off_sync(context: ReportContext, old: Operation, operation: Operation, told: ReportEntries) -> Operation:
    """Return a sync of the service's own with what an operation was told of another: it goes on as that one was."""
    moment = report_log.entry_time(told[-1])
    id_ = sync_order.id_for_end_at(context, moment)
    other = sync_order.open_service_operation(context.aggregate, "sync", id_, now=context.now)
    set_entries(other, told)
    other.last_reported_at = moment
    if old.is_open:
        other.state, other.deadline_at = "running", context.now + context.silence_limit
    else:
        other.state, other.error, other.finished_at = old.state, old.error, old.finished_at
    if any(not entry.is_end for entry in told):
        other.started_at = context.now
    if operation.origin == "user" and moment < context.reported_at:
        operation.asked_after = max(operation.asked_after or moment, moment)
    return other


def _record_start_and_end_changes(context: ReportContext, operation: Operation) -> None:
    """Note what is new of a new operation: its start, if it has one, and its end."""
    if operation.started_at is not None:
        context.aggregate.record_change("sync.started", operation=operation)
    if not operation.is_open:
        context.aggregate.record_change(f"sync.{operation.state}", operation=operation)


def _take_starts_before_end(context: ReportContext) -> ReportEntries:
    """Take the unnamed starts until this moment from all that had not ended by then: they are of an end at it."""
    starts: ReportEntries = []
    for operation in sync_order.sync_operations(context.aggregate):
        known_until = sync_order.newest_service_time_of(operation) or context.reported_at
        if operation.is_open or known_until > context.reported_at:
            for start in report_log.take_unnamed_starts(operation, until=context.entry.at):
                starts = with_entry(starts, start)
    return starts
