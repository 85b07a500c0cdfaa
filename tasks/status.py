"""Apply a batch of status messages: one transaction, then the events, then (by the consumer) the acknowledgements.

What cannot be applied is named to the consumer, which has the whole message and moves it to the dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy import literal, select
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from app import errors, extensions, metrics, tracing
from app.domain.aggregate import ended_verification_ids
from app.domain.status_messages import MessageRefused, Report, parse_report
from app.domain.unreadable_messages import UnreadableMessage, identify_unreadable_message
from app.outbound import clock_offsets, events
from app.outbound.credential_store import current_credential_store
from app.services import status_updates
from app.unit_of_work import database_time, unit_of_work
from tasks.batch_requests import APPLY_MESSAGES_TASK, SomeMessagesRefused
from tasks.celery import status_app

log = structlog.get_logger()

# The fault of one message's content, or of our code at it: the others must not wait for that to be fixed. Anything
# else (the database is away, a table is missing) is no message's fault, and then none is given up.
SINGLE_MESSAGE_ERRORS = (
    DataError, IntegrityError, errors.AppError,
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


# In seconds. A round trip for each batch would be many in a flood.
CLOCK_REPORT_INTERVAL_SECONDS = 60.0

# By the place of a message in its batch.
RefusalsByPosition = dict[int, MessageRefused]


@status_app.task(name=APPLY_MESSAGES_TASK, shared=False, Request="tasks.batch_requests:BatchRequest")
def apply_messages(raw_messages: Sequence[tuple[str, str]]) -> None:
    """Apply raw messages, each (queue, body), in the order of their arrival; none ask whether the database answers.

    Raises SomeMessagesRefused, when all others are applied, if there are some that cannot be, and OperationalError
    (SQLAlchemy's) when the database is away: then nothing is acknowledged and all is tried again, which changes nothing
    that was applied already.
    """
    if not raw_messages:
        with unit_of_work(all_tenants=True) as work:
            work.session.execute(select(literal(1)))
        return
    started = time.monotonic()
    attributes = {"messaging.batch.message_count": len(raw_messages)}
    with tracing.trace_span("apply status messages", kind=SpanKind.CONSUMER, **attributes):
        refusals = apply_raw_messages(raw_messages)
    metrics.observe_batch(message_count=len(raw_messages), seconds=time.monotonic() - started)
    _record_clock_offset_if_due()
    if refusals:
        in_order = sorted(refusals.items())
        raise SomeMessagesRefused([(place, refusal.reason, refusal.detail) for place, refusal in in_order])


class _LastClockReport:
    # When it was last said, by the monotonic clock.
    reported_at = -CLOCK_REPORT_INTERVAL_SECONDS


def _record_clock_offset_if_due() -> None:
    if time.monotonic() - _LastClockReport.reported_at >= CLOCK_REPORT_INTERVAL_SECONDS:
        _LastClockReport.reported_at = time.monotonic()
        clock_offsets.record_host_clock_offset(extensions.redis(), "worker", database_time=database_time())


def apply_raw_messages(raw_messages: Sequence[tuple[str, str]], *, now: datetime | None = None) -> RefusalsByPosition:
    """Apply what can be applied of raw messages, each (queue, body); return the rest, by their places.

    One that cannot be read still tells, as a rule, whose answer it was to be: that is applied in its place. `now` is
    the database's time, once it is their turn, unless another is given.
    """
    refusals: RefusalsByPosition = {}
    reports: list[Report | UnreadableMessage] = []
    positions: list[int] = []
    for position, (queue, body) in enumerate(raw_messages):
        report: Report | UnreadableMessage | None
        try:
            report = parse_report(body, queue_name=queue)
        except MessageRefused as refusal:
            refusals[position], report = refusal, identify_unreadable_message(body.encode())
        except SINGLE_MESSAGE_ERRORS as fault:
            refusals[position], report = _refusal_for_failed_message(fault), identify_unreadable_message(body.encode())
        if report is not None:
            reports.append(report)
            positions.append(position)
    # Of two reasons for one message, the first.
    return {positions[position]: refusal for position, refusal in _apply_or_halve(reports, now=now).items()} | refusals


def _apply_or_halve(reports: Sequence[Report | UnreadableMessage], *, now: datetime | None) -> RefusalsByPosition:
    """Apply reports in one transaction; halve the batch if it fails, until the one that cannot be applied is alone."""
    if not reports:
        return {}
    try:
        applied = _apply_in_one_transaction(reports, now=now)
    except SINGLE_MESSAGE_ERRORS as problem:
        if len(reports) == 1:
            return _refuse_and_end_operation(reports[0], problem, now=now)
        half = len(reports) // 2
        first, second = _apply_or_halve(reports[:half], now=now), _apply_or_halve(reports[half:], now=now)
        return first | {half + position: refusal for position, refusal in second.items()}
    late, refused = len(applied.late_positions), len(applied.refusals)
    read = sum(not isinstance(report, UnreadableMessage) for report in reports)
    metrics.count_applied_and_late_messages(applied=read - late - refused, late=late)
    log.debug("status_batch_applied", messages=read, changes=len(applied.changes), late=late, refused=refused)
    return _with_exact_refusal_reasons(applied, reports)


def _refuse_and_end_operation(
    report: Report | UnreadableMessage, problem: Exception, *, now: datetime | None
) -> RefusalsByPosition:
    """Refuse the one that cannot be applied, and end what it is about."""
    refusals = {0: _refusal_for_failed_message(problem)}
    if not isinstance(report, UnreadableMessage) and report.operation_id is not None:
        _apply_or_halve([UnreadableMessage(report.connection_id, report.tenant_id, report.operation_id)], now=now)
    return refusals


def _apply_in_one_transaction(
    reports: Sequence[Report | UnreadableMessage], *, now: datetime | None
) -> status_updates.AppliedBatch:
    started = tracing.now_ns()
    if len(reports) == 1 and reports[0].operation_id is not None:
        tracing.set_operation_id_on_current_span(reports[0].operation_id)
    with unit_of_work(tenant_ids={report.tenant_id for report in reports}) as work:
        deadlines = extensions.settings().deadlines
        applied = status_updates.apply_reports(work.session, reports, deadlines=deadlines, now=now)
        changes = applied.changes
        operation_ids = {change.operation.id for change in changes if change.operation}
        record_spans = partial(tracing.record_operation_spans, span_name="status message", started_ns=started)
        work.after_commit(lambda: tracing.link_current_span_to_operations(*operation_ids))
        work.after_commit(lambda: record_spans(changes))
        work.after_commit(lambda: events.publish_changes(changes))
        work.after_commit(lambda: current_credential_store().delete(*ended_verification_ids(changes)))
    return applied


def _with_exact_refusal_reasons(
    applied: status_updates.AppliedBatch, reports: Sequence[Report | UnreadableMessage]
) -> RefusalsByPosition:
    """Give each refusal its reason; what a tenant cannot see takes a look of its own to tell."""
    refusals = applied.refusals
    unknown_positions = [place for place, refusal in refusals.items() if refusal.reason == "unknown_connection"]
    if not unknown_positions:
        return refusals
    wanted = [reports[position].connection_id for position in unknown_positions]
    with unit_of_work(all_tenants=True) as work:
        reasons = status_updates.refusals_for_unknown_connections(work.session, wanted)
    return refusals | dict(zip(unknown_positions, reasons, strict=True))


def _refusal_for_failed_message(fault: Exception) -> MessageRefused:
    """Log a fault and return what the dead letter says of it: its name, and no content of the message."""
    log.error("status_message_failed", exc_info=fault)
    cause = fault.orig if isinstance(fault, StatementError) else fault
    return MessageRefused("apply_failed", type(cause).__name__)
