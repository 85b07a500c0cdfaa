"""Where a dated report belongs among the syncs of its connection, by the external service's clock.

History has the order of ids, and the service's clock goes along with it: what is added late gets an id of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain import ids
from app.domain.cases import Case, Connection, Operation
from app.domain.messages import AHEAD, Report
from app.domain.timeline import Entry

Clock = tuple[datetime, int]
# Makes an id of now; most reports need none.
FreshId = Callable[[], UUID]


@dataclass(slots=True)
class Heard:
    """A report, and what it takes to record it. Not frozen, which would take longer to make."""

    case: Case
    report: Report
    at: datetime
    entry: Entry
    fresh_id: FreshId
    silence: timedelta
    now: datetime


def clock_of(connection: Connection, *, now: datetime) -> Clock | None:
    """Return the newest report known, by the service's clock; an impossible one, of an earlier release, is none."""
    known = connection.sync_reported_at
    return None if known is None or known > now + AHEAD else (known, connection.sync_reported_rank or 0)


def rank_of(report: Report) -> int:
    """Return a report's place among those of one instant."""
    return int(report.trigger != "started")


def advance(heard: Heard) -> bool:
    """Keep the newest time that the service has told; tell whether it is this report's."""
    connection, known = heard.case.connection, clock_of(heard.case.connection, now=heard.now)
    clock = heard.at, rank_of(heard.report)
    if known is not None and clock <= known:
        return False
    connection.sync_reported_at, connection.sync_reported_rank = clock
    return True


def place_of(operation: Operation) -> datetime | None:
    """Return the moment up to which history is this operation's or older, by the service's clock."""
    reported, asked = operation.last_reported_at, operation.asked_after
    return max(reported, asked) if reported and asked else reported or asked


def syncs_of(case: Case) -> Sequence[Operation]:
    """Return what is known of the syncs of a connection."""
    return [operation for operation in case.operations.values() if operation.kind == "sync"]


def heir_of(heard: Heard) -> Operation | None:
    """Return what a moment belongs to by itself: the first operation that ended then or later, else what is open."""
    running, ended = (
        heard.case.open("sync"),
        [
            (place, operation.id, operation)
            for operation in syncs_of(heard.case)
            if not operation.is_open and (place := place_of(operation)) is not None and place >= heard.at
        ],
    )
    first = min(ended, default=None)
    if first is None or (running is not None and began_before(running, first[0])):
        return running
    return first[2]


def began_before(operation: Operation, at: datetime) -> bool:
    """Tell whether this is an open sync of the service's own of which nothing was told since; its end is on its way."""
    is_own = operation.is_open and operation.origin == "service"
    return is_own and operation.last_reported_at is not None and operation.last_reported_at <= at


def may_be_of(operation: Operation, at: datetime) -> bool:
    """Tell whether a report that names nothing may speak of this one."""
    if operation.origin == "service":
        return True
    return operation.was_sent and (operation.asked_after is None or at > operation.asked_after)


def is_last(case: Case, operation: Operation) -> bool:
    """Tell whether `last_*` are this operation's: nothing that ended follows it, and nothing that was asked for."""
    return not any(_follows(other, operation) for other in syncs_of(case) if other is not operation)


def _follows(other: Operation, operation: Operation) -> bool:
    if other.is_open:
        return other.origin == operation.origin == "user" and other.id > operation.id
    place, others = place_of(operation), place_of(other)
    is_asked = other.origin == "user" and other.id > operation.id
    if is_asked or place is None or others is None:
        return other.id > operation.id
    return (others, other.id) > (place, operation.id)


def id_at(heard: Heard, moment: datetime) -> UUID:
    """Return an id for what ended at that moment: before all that is of it or later, and after all else."""
    known = [(operation.id, place_of(operation)) for operation in syncs_of(heard.case)]
    newer = min((id_ for id_, place in known if place is not None and place >= moment), default=None)
    older = max((id_ for id_, _ in known if newer is None or id_ < newer), default=None)
    return ids.between(older, newer, heard.fresh_id())


def newest_id(case: Case, kind: str, fresh_id: FreshId) -> UUID:
    """Return an id for what begins now: after all that has ended, and before what waits to be sent."""
    waiting, last = case.open(kind), case.last_finished(kind)
    older = None if last is None or (waiting is not None and last.id > waiting.id) else last.id
    return ids.between(older, None if waiting is None else waiting.id, fresh_id())


def opened(case: Case, kind: str, id_: UUID, *, now: datetime) -> Operation:
    """Open an operation that the service began itself."""
    connection = case.connection
    operation = Operation(
        id=id_,
        organization_id=connection.organization_id,
        connection_id=connection.id,
        kind=kind,
        origin="service",
        state="delivered",
        created_at=now,
        deadline_at=None,
    )
    case.operations[id_] = operation
    return operation


def looks_back(case: Case, reports: Sequence[Report], *, now: datetime) -> list[datetime] | None:
    """Return the moments of these dated reports at which what has ended counts, or None if nothing that has ended does.

    None is what a flood in its order gives: each report is newer than those before it, and answers what is open.
    """
    clock, running = clock_of(case.connection, now=now), case.open("sync")
    is_open, looks, has_ended = running is not None and running.was_sent, False, False
    moments: list[datetime] = []
    for report in reports:
        if report.timestamp is None:
            continue
        comes = report.timestamp, rank_of(report)
        if report.operation_id is not None:
            named = case.operations.get(report.operation_id)
            is_newest = clock is None or comes > clock
            clock = comes if is_newest else clock
            # What an end has ended that did not name it may open again.
            if named is None or (named.is_open and is_newest and not has_ended):
                continue
            looks, moments = True, [*moments, *filter(None, [place_of(named), report.timestamp])]
            continue
        has_ended |= report.trigger != "started"
        if clock is not None and comes <= clock:
            looks, moments = True, [*moments, report.timestamp]
        else:
            looks |= report.trigger != "started" and not is_open
            # A start is no other's while one that was not sent yet waits; its end then gets an id before that one's.
            is_open, clock = running is None or running.was_sent, comes
    return moments if looks else None
