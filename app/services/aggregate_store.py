"""Aggregates in and out of the database, set-wise: the one reader with locks, the one writer of state and audit.

One statement serves one row or five hundred alike, so a request and a flood of messages take the same road. See
`docs/decisions/0003-one-module-for-all-state.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select

from app import database_clock, errors
from app.domain import ids
from app.domain.actors import Actor
from app.domain.aggregate import Change, Connection, ConnectionAggregate, Operation, RowValues
from app.domain.large_values import summarize_if_large
from app.extensions import Session
from app.services import aggregate_queries, bulk_writes
from app.services.tables import CONNECTION_COLUMNS, OPERATION_COLUMNS

# What locks them gives one column more.
_ROW_WIDTH = len(CONNECTION_COLUMNS) + len(OPERATION_COLUMNS)


def fetch_aggregates(session: Session, query: Select[Any], **values: Any) -> list[ConnectionAggregate]:
    """Return the aggregates that a query of connections with operations gives: one round trip."""
    aggregates: dict[UUID, ConnectionAggregate] = {}
    # All at once: asked for one by one, they go through four functions of SQLAlchemy each.
    for row in session.execute(query, values).all():
        # Operations without a connection: see `_locking_query`.
        if row[0] is None:
            continue
        aggregate = aggregates.get(row[0])
        if aggregate is None:
            aggregate = aggregates[row[0]] = ConnectionAggregate(Connection(*row[: len(CONNECTION_COLUMNS)]))
            aggregate.locked_at = row[_ROW_WIDTH] if len(row) > _ROW_WIDTH else None
        operation = row[len(CONNECTION_COLUMNS) : _ROW_WIDTH]
        if operation[0] is not None:
            aggregate.operations[operation[0]] = Operation(*operation)
    return list(aggregates.values())


def fetch_connection(session: Session, connection_id: UUID) -> ConnectionAggregate:
    """Return one connection to look at. Raises NotFound."""
    return _require_one(fetch_aggregates(session, aggregate_queries.CONNECTION_BY_ID_QUERY, id=connection_id))


def load_for_update(
    session: Session, connection_ids: Collection[UUID], *, operation_ids: Collection[UUID] = ()
) -> dict[UUID, ConnectionAggregate]:
    """Return the aggregates of those connections that are visible and undeleted, locked for writing, by id.

    Each has its open operations, and of those in `operation_ids` its own.
    """
    query, values = aggregate_queries.LOCK_WITH_OPEN_OPERATIONS, {"ids": list(connection_ids)}
    if operation_ids:
        query = aggregate_queries.LOCK_WITH_OPEN_AND_GIVEN_OPERATIONS
        values["named"] = list(operation_ids)
    aggregates = {each.connection.id: each for each in fetch_aggregates(session, query, **values)}
    for aggregate in aggregates.values():
        aggregate.mark_as_stored()
    if aggregates:
        # Who applies messages asks for the time nowhere else, and events tell it.
        database_clock.remember_database_time(locking_time(aggregates))
    return aggregates


def locking_time(aggregates: Mapping[UUID, ConnectionAggregate]) -> datetime:
    """Return when aggregates were locked, by the database's clock.

    What a transaction writes has this moment rather than that of its beginning: of two that wait for each other's rows
    the one that began first may write last, and history has the order of times and ids.
    """
    locked_at = next((aggregate.locked_at for aggregate in aggregates.values()), None)
    # Where there is none, nothing is written.
    return locked_at or datetime.min.replace(tzinfo=UTC)


def load_history(
    session: Session, report_times: Mapping[UUID, Sequence[datetime]], aggregates: Mapping[UUID, ConnectionAggregate]
) -> None:
    """Add what has ended to aggregates that have not changed yet: the last of each kind, and what is about moments.

    The moments are the external service's, by connection.
    """
    if not report_times:
        return
    found = session.execute(aggregate_queries.LAST_FINISHED_QUERY, {"ids": list(report_times)}).all()
    pairs = [(connection_id, moment) for connection_id, times in report_times.items() for moment in set(times)]
    if pairs:
        values = {"ids": [connection_id for connection_id, _ in pairs], "moments": [moment for _, moment in pairs]}
        found = [*found, *session.execute(aggregate_queries.ENDED_AROUND_TIMES_QUERY, values)]
    for row in found:
        operation = Operation(*row)
        aggregates[operation.connection_id].operations.setdefault(operation.id, operation)
    for connection_id in report_times:
        aggregates[connection_id].mark_as_stored()


def load_one_for_update(
    session: Session, connection_id: UUID, *, operation_ids: Collection[UUID] = ()
) -> ConnectionAggregate:
    """Return the aggregate of one connection, locked. Raises NotFound."""
    return _require_one(list(load_for_update(session, [connection_id], operation_ids=operation_ids).values()))


def load_one_of_type_for_update(session: Session, organization_id: UUID, type_name: str) -> ConnectionAggregate:
    """Return the aggregate of an organization's connection of a type, locked. Raises NotFound."""
    values = {"organization_id": organization_id, "type": type_name}
    connection_id = session.scalar(aggregate_queries.CONNECTION_ID_BY_TYPE_QUERY, values)
    return _require_one([] if connection_id is None else list(load_for_update(session, [connection_id]).values()))


def _require_one(aggregates: list[ConnectionAggregate]) -> ConnectionAggregate:
    if not aggregates:
        raise errors.NotFound("Your organization has no such data source")
    return aggregates[0]


def save(session: Session, aggregates: Iterable[ConnectionAggregate], *, actor: Actor, now: datetime) -> list[Change]:
    """Write what changed in the aggregates, with one audit row for each change that a person would ask about.

    Returns the changes in order, for the events. A new connection of a type that the organization has already is left
    out, with its changes. Raises OperationInProgress if another transaction opened an operation of the same kind.
    """
    aggregates = list(aggregates)
    new = [aggregate.connection for aggregate in aggregates if aggregate.is_new]
    inserted = bulk_writes.insert_missing_connections(session, new)
    aggregates = [aggregate for aggregate in aggregates if not aggregate.is_new or aggregate.connection.id in inserted]
    changes = [change for aggregate in aggregates for change in aggregate.changes]
    audited = [change for change in changes if change.action not in _UNAUDITED_ACTIONS]
    compared = [(aggregate, aggregate.connection_difference()) for aggregate in aggregates]
    stale = [(aggregate, difference) for aggregate, difference in compared if difference is not None]
    changed = [difference for aggregate in aggregates for difference in aggregate.operation_differences()]
    opened = [operation for aggregate in aggregates for operation in aggregate.new_operation_values()]
    if changed and opened:
        # On their own, ended ones first: the guard allows one open operation of a kind at any moment.
        bulk_writes.write_changes(session, changed_operations=changed)
        changed = []
    updated_at = bulk_writes.write_changes(
        session,
        changed_connections=[difference for _, difference in stale],
        changed_operations=changed,
        new_operations=opened,
        audit_rows=[_audit_row(change, actor=actor, now=now) for change in audited],
    )
    for aggregate, _ in stale:
        for connection in (aggregate.connection, *[change.connection for change in aggregate.changes]):
            connection.updated_at = updated_at
    for aggregate in aggregates:
        aggregate.mark_as_stored()
    return changes


# Steps on the way that change no status and no setting: pushed to browsers, counted on the operation, not audited.
_UNAUDITED_ACTIONS = {"verify.delivered", "sync.delivered", "verify.delayed", "sync.delayed", "sync.progress"}


def _audit_row(change: Change, *, actor: Actor, now: datetime) -> RowValues:
    """Return the values of an audit row, in the order of the table's columns."""
    connection, operation = change.connection, change.operation
    what = (connection.organization_id, connection.id, operation and operation.id)
    fields = {name: (summarize_if_large(old), summarize_if_large(new)) for name, (old, new) in change.fields.items()}
    request_id = actor.request_id or (operation and operation.request_id)
    who = (actor.type, actor.id, actor.email)
    return (ids.new_id_at(now), *what, *who, change.action, fields, request_id, now)
