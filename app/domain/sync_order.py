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
from app.domain.report_log import ReportEntry, end_entry_of, entries_of
from app.domain.status_messages import MAX_CLOCK_AHEAD, Report
from app.domain.transitions import ANSWERED_STATES, UNANSWERED_STATES

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
    newest = connection.sync_reported_at
    if newest is None or newest > now + MAX_CLOCK_AHEAD:
        return None
    return newest, connection.sync_reported_rank or 0


def report_rank(report: Report) -> int:
    """Return a report's place among those of one instant."""
    return int(report.trigger != "started")


def advance_clock_if_newest(context: ReportContext) -> bool:
    """Keep the newest time that the service has told; tell whether it is this report's."""
    connection = context.aggregate.connection
    known = newest_report_clock(connection, now=context.now)
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
    running = context.aggregate.open_operation("sync")
    ended = [(newest_service_time_of(o), o.id, o) for o in sync_operations(context.aggregate) if not o.is_open]
    first = min(((at, id_, o) for at, id_, o in ended if at is not None and at >= context.reported_at), default=None)
    if first is None or (running is not None and is_open_service_sync_before(running, first[0])):
        return running
    return first[2]


def is_open_service_sync_before(operation: Operation, time: datetime) -> bool:
    """Tell whether this is an open sync of the service's own of which nothing was told since; its end is on its way."""
    is_own = operation.is_open and operation.origin == "service"
    return is_own and operation.last_reported_at is not None and operation.last_reported_at <= time


def unnamed_report_may_concern(operation: Operation, context: ReportContext) -> bool:
    """Tell whether a report that names nothing may speak of this one."""
    if operation.origin == "service":
        return True
    asked_after = operation.asked_after
    return operation.may_be_known_to_service and (asked_after is None or context.reported_at > asked_after)


def ended_at_same_time(operation: Operation, context: ReportContext) -> bool:
    """Tell whether an operation ended at the moment of this report."""
    if operation.state not in ANSWERED_STATES:
        return False
    end = end_entry_of(operation)
    # A row of an earlier release has no reports.
    return operation.last_reported_at == context.reported_at if end is None else end.at == context.entry.at


def end_belongs_to(covering_sync: Operation, context: ReportContext) -> bool:
    """Tell whether an unnamed end is that of the operation in whose time it falls."""
    if covering_sync.state == "replaced" or not unnamed_report_may_concern(covering_sync, context):
        return False
    at, entries = context.entry.at, entries_of(covering_sync)
    if covering_sync.origin == "service":
        begun = any(entry.at <= at for entry in entries if not entry.is_end)
        if covering_sync.is_open:
            return begun or not entries
        # It keeps its beginning if that has been told of; else its end.
        return begun and (covering_sync.reported_late or covering_sync.state in UNANSWERED_STATES)
    end = end_entry_of(covering_sync)
    if covering_sync.state in ANSWERED_STATES and (end is None or end.is_named):
        return False
    return not any(entry.is_named and entry.at > at for entry in entries)


def unanswered_sync_before(context: ReportContext, covering_sync: Operation | None) -> Operation | None:
    """Return the operation just before, if it ended without an answer: this is the answer."""
    ended = [operation for operation in sync_operations(context.aggregate) if not operation.is_open]
    earlier = [operation for operation in ended if covering_sync is None or operation.id < covering_sync.id]
    last = max(earlier, key=lambda operation: operation.id, default=None)
    if last is None or last.state not in UNANSWERED_STATES:
        return None
    return last if unnamed_report_may_concern(last, context) else None


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


def open_service_operation(aggregate: ConnectionAggregate, kind: str, id_: UUID, *, now: datetime) -> Operation:
    """Open an operation that the service began itself."""
    connection_id, organization_id = aggregate.connection.id, aggregate.connection.organization_id
    operation = Operation(id_, organization_id, connection_id, kind, "service", now, None, "delivered")
    aggregate.operations[id_] = operation
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
            named = aggregate.operations.get(report.operation_id)
            is_newest = clock is None or comes > clock
            clock = comes if is_newest else clock
            # What an end has ended that did not name it may open again.
            if named is not None and not (named.is_open and is_newest and not has_ended):
                looks = True
                moments += filter(None, [newest_service_time_of(named), report.timestamp])
            continue
        has_ended |= report.trigger != "started"
        if clock is not None and comes <= clock:
            looks = True
            moments.append(report.timestamp)
        else:
            looks |= report.trigger != "started" and not is_open
            # A start is no other's while one that was not sent yet waits; its end then gets an id before that one's.
            is_open, clock = running is None or running.may_be_known_to_service, comes
    return moments if looks else None
