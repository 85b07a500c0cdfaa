"""Where a dated report belongs among the syncs of its connection, by the external service's clock.

History has the order of ids, and the service's clock goes along with it: what is added late gets an id of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain import ids
from app.domain.aggregate import Connection, ConnectionAggregate, Operation
from app.domain.report_log import ReportEntry
from app.domain.status_messages import MAX_CLOCK_AHEAD, Report

ReportClock = tuple[datetime, int]
# Makes an id of now; most reports need none.
NewIdFactory = Callable[[], UUID]


@dataclass(slots=True)
class ReportContext:
    """A report, and what it takes to record it. Not frozen, which would take longer to make."""

    aggregate: ConnectionAggregate
    report: Report
    reported_at: datetime
    entry: ReportEntry
    new_id: NewIdFactory
    silence_limit: timedelta
    now: datetime


def newest_report_clock(connection: Connection, *, now: datetime) -> ReportClock | None:
    """Return the newest report known, by the service's clock; an impossible one, of an earlier release, is none."""
    newest_report_time = connection.sync_reported_at
    return (
        None
        if newest_report_time is None or newest_report_time > now + MAX_CLOCK_AHEAD
        else (newest_report_time, connection.sync_reported_rank or 0)
    )


def report_rank(report: Report) -> int:
    """Return a report's place among those of one instant."""
    return int(report.trigger != "started")


def advance_clock_if_newest(context: ReportContext) -> bool:
    """Keep the newest time that the service has told; tell whether it is this report's."""
    connection, known = (
        context.aggregate.connection,
        newest_report_clock(context.aggregate.connection, now=context.now),
    )
    clock = context.reported_at, report_rank(context.report)
    if known is not None and clock <= known:
        return False
    connection.sync_reported_at, connection.sync_reported_rank = clock
    return True


def newest_service_time_of(operation: Operation) -> datetime | None:
    """Return the moment up to which history is this operation's or older, by the service's clock."""
    reported, asked = operation.last_reported_at, operation.asked_after
    return max(reported, asked) if reported and asked else reported or asked


def sync_operations(aggregate: ConnectionAggregate) -> Sequence[Operation]:
    """Return what is known of the syncs of a connection."""
    return [operation for operation in aggregate.operations.values() if operation.kind == "sync"]


def operation_covering_report_time(context: ReportContext) -> Operation | None:
    """Return what a moment belongs to by itself: the first operation that ended then or later, else what is open."""
    running, ended = (
        context.aggregate.open_operation("sync"),
        [
            (place, operation.id, operation)
            for operation in sync_operations(context.aggregate)
            if not operation.is_open
            and (place := newest_service_time_of(operation)) is not None
            and place >= context.reported_at
        ],
    )
    first = min(ended, default=None)
    if first is None or (running is not None and is_open_service_sync_started_before(running, first[0])):
        return running
    return first[2]


def is_open_service_sync_started_before(operation: Operation, time: datetime) -> bool:
    """Tell whether this is an open sync of the service's own of which nothing was told since; its end is on its way."""
    is_own = operation.is_open and operation.origin == "service"
    return is_own and operation.last_reported_at is not None and operation.last_reported_at <= time


def unnamed_report_may_concern(operation: Operation, report_time: datetime) -> bool:
    """Tell whether a report that names nothing may speak of this one."""
    if operation.origin == "service":
        return True
    return operation.may_be_known_to_service and (operation.asked_after is None or report_time > operation.asked_after)


def is_last_sync(aggregate: ConnectionAggregate, operation: Operation) -> bool:
    """Tell whether `last_*` are this operation's: nothing that ended follows it, and nothing that was asked for."""
    return not any(_comes_after(other, operation) for other in sync_operations(aggregate) if other is not operation)


def _comes_after(other: Operation, operation: Operation) -> bool:
    if other.is_open:
        return other.origin == operation.origin == "user" and other.id > operation.id
    place, others = newest_service_time_of(operation), newest_service_time_of(other)
    is_asked = other.origin == "user" and other.id > operation.id
    if is_asked or place is None or others is None:
        return other.id > operation.id
    return (others, other.id) > (place, operation.id)


def id_for_end_at(context: ReportContext, ended_at: datetime) -> UUID:
    """Return an id for what ended at that moment: before all that is of it or later, and after all else."""
    known = [(operation.id, newest_service_time_of(operation)) for operation in sync_operations(context.aggregate)]
    newer = min((id_ for id_, place in known if place is not None and place >= ended_at), default=None)
    older = max((id_ for id_, _ in known if newer is None or id_ < newer), default=None)
    return ids.id_between(older, newer, context.new_id())


def id_for_new_operation(aggregate: ConnectionAggregate, kind: str, new_id: NewIdFactory) -> UUID:
    """Return an id for what begins now: after all that has ended, and before what waits to be sent."""
    waiting, last = aggregate.open_operation(kind), aggregate.last_finished_operation(kind)
    older = None if last is None or (waiting is not None and last.id > waiting.id) else last.id
    return ids.id_between(older, None if waiting is None else waiting.id, new_id())


def open_service_operation(
    aggregate: ConnectionAggregate, kind: str, operation_id: UUID, *, now: datetime
) -> Operation:
    """Open an operation that the service began itself."""
    connection = aggregate.connection
    operation = Operation(
        id=operation_id,
        organization_id=connection.organization_id,
        connection_id=connection.id,
        kind=kind,
        origin="service",
        state="delivered",
        created_at=now,
        deadline_at=None,
    )
    aggregate.operations[operation_id] = operation
    return operation


def dated_report_times_needing_history(
    aggregate: ConnectionAggregate, reports: Sequence[Report], *, now: datetime
) -> list[datetime] | None:
    """Return the moments of these dated reports at which what has ended counts, or None if nothing that has ended does.

    None is what a flood in its order gives: each report is newer than those before it, and answers what is open.
    """
    clock, running = newest_report_clock(aggregate.connection, now=now), aggregate.open_operation("sync")
    is_open, looks, has_ended = running is not None and running.may_be_known_to_service, False, False
    moments: list[datetime] = []
    for report in reports:
        if report.timestamp is None:
            continue
        comes = report.timestamp, report_rank(report)
        if report.operation_id is not None:
            named_operation = aggregate.operations.get(report.operation_id)
            is_newest = clock is None or comes > clock
            clock = comes if is_newest else clock
            # What an end has ended that did not name it may open again.
            if named_operation is None or (named_operation.is_open and is_newest and not has_ended):
                continue
            looks, moments = (
                True,
                [*moments, *filter(None, [newest_service_time_of(named_operation), report.timestamp])],
            )
            continue
        has_ended |= report.trigger != "started"
        if clock is not None and comes <= clock:
            looks, moments = True, [*moments, report.timestamp]
        else:
            looks |= report.trigger != "started" and not is_open
            # A start is no other's while one that was not sent yet waits; its end then gets an id before that one's.
            is_open, clock = running is None or running.may_be_known_to_service, comes
    return moments if looks else None
