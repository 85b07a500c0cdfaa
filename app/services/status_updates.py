"""A batch of reports of the external service: one lock, one pass of the lifecycle, one write."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import any_, literal, select

from app.cached_plans import UUID_ARRAY
from app.domain import ids, lifecycle, source_types, status_messages
from app.domain.actors import EXTERNAL_SERVICE
from app.domain.aggregate import Change, ConnectionAggregate
from app.domain.status_messages import MessageRefused, Report
from app.domain.unreadable_messages import UnreadableMessage
from app.extensions import Session
from app.services import aggregate_store
from app.services.tables import CONNECTIONS


@dataclass(slots=True)
class AppliedBatch:
    """What became of a batch: positions in it, by outcome, and the changes to push."""

    changes: list[Change] = field(default_factory=list)
    late_positions: list[int] = field(default_factory=list)
    refusals: dict[int, MessageRefused] = field(default_factory=dict)


def apply_reports(
    session: Session,
    reports: Sequence[Report | UnreadableMessage],
    *,
    deadlines: lifecycle.Deadlines,
    now: datetime | None = None,
) -> AppliedBatch:
    """Apply reports in the order of their arrival; the session is scoped to the tenants that they name.

    What they change has the moment at which their connections were locked, unless another is given.

    A report of a connection that is not visible, or that names an operation its connection does not have, is refused
    and does not touch the others. An answer that cannot be read ends the operation that it names, if that is open.
    """
    connection_ids = {report.connection_id for report in reports}
    operation_ids = {report.operation_id for report in reports if report.operation_id is not None}
    aggregates = aggregate_store.load_for_update(session, connection_ids, operation_ids=operation_ids)
    now = now or aggregate_store.locking_time(aggregates)
    wrong = {
        position
        for position, report in enumerate(reports)
        if isinstance(report, UnreadableMessage) or not status_messages.has_plausible_timestamp(report, now=now)
    }
    report_times = _report_times_needing_history(aggregates, reports, invalid_positions=wrong, now=now)
    aggregate_store.load_history(session, report_times, aggregates)
    applied = AppliedBatch()

    def new_id() -> UUID:
        return ids.new_id_at(now)

    for position, report in enumerate(reports):
        aggregate = aggregates.get(report.connection_id)
        if aggregate is None or aggregate.connection.organization_id != report.tenant_id:
            if not isinstance(report, UnreadableMessage):
                applied.refusals[position] = MessageRefused("unknown_connection", "this tenant has no such connection")
            continue
        if isinstance(report, UnreadableMessage):
            lifecycle.end_operation_with_unreadable_answer(aggregate, report.operation_id, now=now)
            continue
        try:
            _require_valid_time_and_options(aggregate, report, has_impossible_time=position in wrong, now=now)
            if not lifecycle.apply_report(aggregate, report, new_id=new_id, deadlines=deadlines, now=now):
                applied.late_positions.append(position)
        except MessageRefused as refusal:
            applied.refusals[position] = refusal
    applied.changes = aggregate_store.save(session, aggregates.values(), actor=EXTERNAL_SERVICE, now=now)
    return applied


def _require_valid_time_and_options(
    aggregate: ConnectionAggregate, report: Report, *, has_impossible_time: bool, now: datetime
) -> None:
    """Raise MessageRefused if a report has an impossible time or no choices, and end what it is about."""
    try:
        if has_impossible_time:
            raise status_messages.implausible_timestamp_refusal()
        options_key = source_types.options_key_of_type(aggregate.connection.type)
        status_messages.require_readable_options(report, options_key=options_key)
    except MessageRefused:
        named = report.operation_id and aggregate.operations.get(report.operation_id)
        if named and named.kind == report.kind:
            lifecycle.end_operation_with_unreadable_answer(aggregate, named.id, now=now)
        raise


def _report_times_needing_history(
    aggregates: Mapping[UUID, ConnectionAggregate],
    reports: Sequence[Report | UnreadableMessage],
    *,
    invalid_positions: Collection[int],
    now: datetime,
) -> dict[UUID, Sequence[datetime]]:
    """Return the connections of which what has ended counts, and at which moments of the past.

    What is `invalid_positions`, by its position, is not applied, but may end something.
    """
    of_case: dict[UUID, list[Report]] = {}
    for position, report in enumerate(reports):
        if position not in invalid_positions:
            of_case.setdefault(report.connection_id, []).append(cast(Report, report))
    ended = {reports[position].connection_id for position in invalid_positions}
    looks = {
        key: lifecycle.report_times_needing_history(aggregates[key], theirs, other_ends_possible=key in ended, now=now)
        for key, theirs in of_case.items()
        if key in aggregates
    }
    return {key: moments for key, moments in looks.items() if moments is not None}


def refusals_for_unknown_connections(session: Session, connection_ids: Sequence[UUID]) -> list[MessageRefused]:
    """Tell, with a session of the system's scope, a connection that does not exist from one of another tenant."""
    is_one = CONNECTIONS.c.id == any_(literal(connection_ids, UUID_ARRAY))
    existing = set(session.scalars(select(CONNECTIONS.c.id).where(is_one, CONNECTIONS.c.deleted_at.is_(None))))
    foreign = MessageRefused("tenant_mismatch", "the connection belongs to another tenant than the message says")
    unknown = MessageRefused("unknown_connection", "there is no such connection")
    return [foreign if connection_id in existing else unknown for connection_id in connection_ids]
