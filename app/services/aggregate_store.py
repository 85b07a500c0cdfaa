"""Aggregates in and out of the database, set-wise: the one reader with locks, the one writer of state and audit.

One statement serves one row or five hundred alike, so a request and a flood of messages take the same road. See
`docs/decisions/0003-one-module-for-all-state.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Text, Uuid

from app import errors
from app.cached_plans import UUID_ARRAY, with_cached_plan
from app.domain import ids
from app.domain.actors import Actor
from app.domain.aggregate import (
    COLUMN_NAMES,
    OPEN_STATES,
    Change,
    Connection,
    ConnectionAggregate,
    Operation,
    RowValues,
)
from app.domain.large_values import summarize_if_large
from app.extensions import Session
from app.services import bulk_writes

CONNECTIONS_TABLE, OPERATIONS_TABLE, AUDIT_TABLE = (
    bulk_writes.CONNECTIONS_TABLE,
    bulk_writes.OPERATIONS_TABLE,
    bulk_writes.AUDIT_TABLE,
)

# A function of one parameter, so that the statement is compiled once: `VALUES` would be compiled anew each time.
KINDS_TABLE = (
    func.unnest(literal(["verify", "sync"], ARRAY(Text)))
    .table_valued(column("kind", Text), name="kinds")
    .render_derived()
)

EARLIEST_TIME, LOWEST_ID = datetime.min.replace(tzinfo=UTC), UUID(int=0)
CONNECTION_COLUMN_LIST = [CONNECTIONS_TABLE.c[name] for name in COLUMN_NAMES[Connection]]
OPERATION_COLUMN_LIST = [OPERATIONS_TABLE.c[name] for name in COLUMN_NAMES[Operation]]


# Statements are put together once: building and compiling one of thirty columns takes longer than running it.
_CONNECTION_IDS_PARAMETER, _OPERATION_IDS_PARAMETER = (
    bindparam("ids", type_=UUID_ARRAY),
    bindparam("named", type_=UUID_ARRAY),
)
_OF_THESE_CONNECTIONS = OPERATIONS_TABLE.c.connection_id == any_(_CONNECTION_IDS_PARAMETER)
# The open ones are few however long the history. An array leaves the statement as it is; `IN` would be put in anew.
_IS_OPEN = OPERATIONS_TABLE.c.state == any_(literal(sorted(OPEN_STATES), ARRAY(Text)))
_CONNECTIONS_WITH_OPEN_OPERATIONS = (
    select(*CONNECTION_COLUMN_LIST, *OPERATION_COLUMN_LIST)
    .select_from(
        CONNECTIONS_TABLE.outerjoin(
            OPERATIONS_TABLE, and_(OPERATIONS_TABLE.c.connection_id == CONNECTIONS_TABLE.c.id, _IS_OPEN)
        )
    )
    .where(CONNECTIONS_TABLE.c.deleted_at.is_(None))
    .order_by(CONNECTIONS_TABLE.c.created_at, CONNECTIONS_TABLE.c.type)
)
CONNECTIONS_OF_ORGANIZATION_QUERY = with_cached_plan(
    _CONNECTIONS_WITH_OPEN_OPERATIONS.where(CONNECTIONS_TABLE.c.organization_id == bindparam("organization_id"))
)
_CONNECTION_BY_ID_QUERY = with_cached_plan(
    _CONNECTIONS_WITH_OPEN_OPERATIONS.where(CONNECTIONS_TABLE.c.id == bindparam("id"))
)
_CONNECTION_ID_BY_TYPE_QUERY = with_cached_plan(
    select(CONNECTIONS_TABLE.c.id).where(
        CONNECTIONS_TABLE.c.organization_id == bindparam("organization_id"),
        CONNECTIONS_TABLE.c.type == bindparam("type"),
        CONNECTIONS_TABLE.c.deleted_at.is_(None),
    )
)
# In the order of their ids, so that two batches never wait for each other. Deleted ones, too: nobody may bring one back
# before it is read.
_LOCK_CONNECTIONS_QUERY = (
    select(CONNECTIONS_TABLE.c.id)
    .where(CONNECTIONS_TABLE.c.id == any_(_CONNECTION_IDS_PARAMETER))
    .order_by(CONNECTIONS_TABLE.c.id)
    .with_for_update(key_share=True)
)


def _locking_query(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query of connections with some of their operations, all locked, in one round trip.

    A worker that claims attempts locks operations alone, in the same order; it must not slip in before we write.

    The join is full, which PostgreSQL does by hashes or by merging: it expects one operation and would go through all
    of them for each connection, thirty thousand pairs for a batch. So a row may have no connection: it was deleted.
    """
    theirs = (
        select(*OPERATION_COLUMN_LIST)
        .where(*conditions)
        .order_by(OPERATIONS_TABLE.c.id)
        .with_for_update(key_share=True)
    )
    found = theirs.cte("theirs")
    seen = select(*CONNECTION_COLUMN_LIST).where(
        CONNECTIONS_TABLE.c.id == any_(_CONNECTION_IDS_PARAMETER), CONNECTIONS_TABLE.c.deleted_at.is_(None)
    )
    wanted = seen.cte("wanted")
    return with_cached_plan(
        select(*wanted.c, *found.c)
        .select_from(wanted.outerjoin(found, found.c.connection_id == wanted.c.id, full=True))
        .order_by(wanted.c.id, found.c.id),
        run_first=_LOCK_CONNECTIONS_QUERY,
    )


_LOCK_WITH_OPEN_OPERATIONS = _locking_query(_OF_THESE_CONNECTIONS, _IS_OPEN)
# "Theirs" is said for each half, so that each has an index.
_LOCK_WITH_OPEN_AND_GIVEN_OPERATIONS = _locking_query(
    or_(
        and_(_OF_THESE_CONNECTIONS, _IS_OPEN),
        and_(_OF_THESE_CONNECTIONS, OPERATIONS_TABLE.c.id == any_(_OPERATION_IDS_PARAMETER)),
    )
)


def _last_finished_query() -> Select[Any]:
    """Return the query of each connection's last finished operation of each kind, an index look-up for each."""
    ids = func.unnest(_CONNECTION_IDS_PARAMETER).table_valued(column("id", Uuid), name="ids").render_derived()
    last = (
        select(*OPERATION_COLUMN_LIST)
        .where(OPERATIONS_TABLE.c.connection_id == ids.c.id, OPERATIONS_TABLE.c.kind == KINDS_TABLE.c.kind)
        .where(OPERATIONS_TABLE.c.finished_at.is_not(None))
        .order_by(OPERATIONS_TABLE.c.id.desc())
        .limit(1)
        .lateral("last")
    )
    return select(last).select_from(ids.join(KINDS_TABLE, true()).join(last, true()))


_LAST_FINISHED_QUERY = with_cached_plan(_last_finished_query())
# What is told of a moment is of the sync before it, or of one of the two after it.
_SYNCS_LOADED_AROUND_A_REPORT = 3
# What a request asked for keeps its id, and may end after syncs of the service's own that have later ones: so far back.
_MAX_OVERTAKEN_SYNCS = 10


def _ended_around_times_query() -> CompoundSelect[Any]:
    """Return the query of what had ended about some moments: for each the sync before it, and the first two after.

    The moments are the external service's; see `app/domain/sync_order.py`. Ids have the order of history, so
    that the search goes back from the newest, as far as a report is late.
    """
    asked = (
        func.unnest(_CONNECTION_IDS_PARAMETER, bindparam("moments", type_=ARRAY(DateTime(timezone=True))))
        .table_valued(column("id", Uuid), column("moment", DateTime(timezone=True)), name="asked")
        .render_derived()
    )

    def ended(table: FromClause) -> ColumnElement[bool]:
        return and_(table.c.connection_id == asked.c.id, table.c.kind == "sync", table.c.finished_at.is_not(None))

    def place(table: FromClause) -> ColumnElement[datetime]:
        # The greatest of what there is; nothing is told of the others by that clock.
        return func.coalesce(func.greatest(table.c.last_reported_at, table.c.asked_after), literal(EARLIEST_TIME))

    earlier = OPERATIONS_TABLE.alias("earlier")
    before = (
        select(earlier.c.id)
        .where(ended(earlier), place(earlier) < asked.c.moment)
        .order_by(earlier.c.id.desc())
        .limit(1)
        .lateral("before")
    )
    first, theirs = (
        func.coalesce(before.c.id, literal(LOWEST_ID)),
        select(*OPERATION_COLUMN_LIST).where(ended(OPERATIONS_TABLE)),
    )
    near = (
        theirs.where(OPERATIONS_TABLE.c.id >= first)
        .order_by(OPERATIONS_TABLE.c.id)
        .limit(_SYNCS_LOADED_AROUND_A_REPORT)
        .lateral("near")
    )
    older = (
        theirs.where(OPERATIONS_TABLE.c.id < first)
        .order_by(OPERATIONS_TABLE.c.id.desc())
        .limit(_MAX_OVERTAKEN_SYNCS)
        .lateral("older")
    )
    wanted = asked.outerjoin(before, true())
    return union_all(
        select(near).select_from(wanted.join(near, true())),
        select(older).select_from(wanted.join(older, true())).where(place(older) >= asked.c.moment),
    )


_ENDED_AROUND_TIMES_QUERY = _ended_around_times_query()


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
            aggregate = aggregates[row[0]] = ConnectionAggregate(Connection(*row[: len(CONNECTION_COLUMN_LIST)]))
        operation = row[len(CONNECTION_COLUMN_LIST) :]
        if operation[0] is not None:
            aggregate.operations[operation[0]] = Operation(*operation)
    return list(aggregates.values())


def fetch_connection(session: Session, connection_id: UUID) -> ConnectionAggregate:
    """Return one connection to look at. Raises NotFound."""
    return _require_one(fetch_aggregates(session, _CONNECTION_BY_ID_QUERY, id=connection_id))


def load_for_update(
    session: Session, connection_ids: Collection[UUID], *, operation_ids: Collection[UUID] = ()
) -> dict[UUID, ConnectionAggregate]:
    """Return the aggregates of those connections that are visible and undeleted, locked for writing, by id.

    Each has its open operations, and of those in `operation_ids` its own.
    """
    ids = {"ids": list(connection_ids)}
    aggregates = (
        fetch_aggregates(session, _LOCK_WITH_OPEN_AND_GIVEN_OPERATIONS, **ids, named=list(operation_ids))
        if operation_ids
        else fetch_aggregates(session, _LOCK_WITH_OPEN_OPERATIONS, **ids)
    )
    for aggregate in aggregates:
        aggregate.mark_as_stored()
    return {aggregate.connection.id: aggregate for aggregate in aggregates}


def load_history(
    session: Session,
    report_times_by_connection: Mapping[UUID, Sequence[datetime]],
    aggregates: Mapping[UUID, ConnectionAggregate],
) -> None:
    """Add what has ended to aggregates that have not changed yet: the last of each kind, and what is about moments.

    The moments are the external service's, by connection.
    """
    if not report_times_by_connection:
        return
    found = session.execute(_LAST_FINISHED_QUERY, {"ids": list(report_times_by_connection)}).all()
    pairs = [
        (connection_id, moment)
        for connection_id, moments in report_times_by_connection.items()
        for moment in set(moments)
    ]
    if pairs:
        ids, moments = zip(*pairs, strict=True)
        found = [
            *found,
            *session.execute(_ENDED_AROUND_TIMES_QUERY, {"ids": list(ids), "moments": list(moments)}).all(),
        ]
    for row in found:
        operation = Operation(*row)
        aggregates[operation.connection_id].operations.setdefault(operation.id, operation)
    for connection_id in report_times_by_connection:
        aggregates[connection_id].mark_as_stored()


def load_one_for_update(
    session: Session, connection_id: UUID, *, operation_ids: Collection[UUID] = ()
) -> ConnectionAggregate:
    """Return the aggregate of one connection, locked. Raises NotFound."""
    return _require_one(list(load_for_update(session, [connection_id], operation_ids=operation_ids).values()))


def load_one_of_type_for_update(session: Session, organization_id: UUID, type_name: str) -> ConnectionAggregate:
    """Return the aggregate of an organization's connection of a type, locked. Raises NotFound."""
    connection_id = session.scalar(
        _CONNECTION_ID_BY_TYPE_QUERY, {"organization_id": organization_id, "type": type_name}
    )
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
    inserted = bulk_writes.insert_missing_connections(
        session, [aggregate.connection for aggregate in aggregates if aggregate.is_new]
    )
    aggregates = [aggregate for aggregate in aggregates if not aggregate.is_new or aggregate.connection.id in inserted]
    changes = [change for aggregate in aggregates for change in aggregate.changes]
    stale = [
        (aggregate, difference)
        for aggregate in aggregates
        if (difference := aggregate.connection_difference()) is not None
    ]
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
        audit_rows=[_audit_row(change, actor=actor, now=now) for change in changes if _is_audited(change)],
    )
    for aggregate, _ in stale:
        for connection in (aggregate.connection, *[change.connection for change in aggregate.changes]):
            connection.updated_at = updated_at
    for aggregate in aggregates:
        aggregate.mark_as_stored()
    return changes


# Steps on the way that change no status and no setting: pushed to browsers, counted on the operation, not audited.
_UNAUDITED_ACTIONS = {"verify.delivered", "sync.delivered", "verify.delayed", "sync.delayed", "sync.progress"}


def _is_audited(change: Change) -> bool:
    return change.action not in _UNAUDITED_ACTIONS


def _audit_row(change: Change, *, actor: Actor, now: datetime) -> RowValues:
    """Return the values of an audit row, in the order of the table's columns."""
    connection, operation = change.connection, change.operation
    return (
        ids.new_id_at(now),
        connection.organization_id,
        connection.id,
        operation and operation.id,
        actor.type,
        actor.id,
        actor.email,
        change.action,
        {name: (summarize_if_large(old), summarize_if_large(new)) for name, (old, new) in change.fields.items()},
        actor.request_id or (operation and operation.request_id),
        now,
    )
