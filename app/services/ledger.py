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
from app.domain import ids
from app.domain.abridging import abridged
from app.domain.actors import Actor
from app.domain.cases import NAMES, OPEN, Case, Change, Connection, Operation, Values
from app.extensions import Session
from app.prepared import IDS, prepared
from app.services import rows

CONNECTIONS, OPERATIONS, AUDIT = rows.CONNECTIONS, rows.OPERATIONS, rows.AUDIT

# A function of one parameter, so that the statement is compiled once: `VALUES` would be compiled anew each time.
KINDS = (
    func.unnest(literal(["verify", "sync"], ARRAY(Text)))
    .table_valued(column("kind", Text), name="kinds")
    .render_derived()
)

BEGINNING, FIRST_ID = datetime.min.replace(tzinfo=UTC), UUID(int=0)
CONNECTION_COLUMNS = [CONNECTIONS.c[name] for name in NAMES[Connection]]
OPERATION_COLUMNS = [OPERATIONS.c[name] for name in NAMES[Operation]]


# Statements are put together once: building and compiling one of thirty columns takes longer than running it.
_IDS, _NAMED = bindparam("ids", type_=IDS), bindparam("named", type_=IDS)
_THEIRS = OPERATIONS.c.connection_id == any_(_IDS)
# The open ones are few however long the history. An array leaves the statement as it is; `IN` would be put in anew.
_IS_OPEN = OPERATIONS.c.state == any_(literal(sorted(OPEN), ARRAY(Text)))
_SHOWN = (
    select(*CONNECTION_COLUMNS, *OPERATION_COLUMNS)
    .select_from(CONNECTIONS.outerjoin(OPERATIONS, and_(OPERATIONS.c.connection_id == CONNECTIONS.c.id, _IS_OPEN)))
    .where(CONNECTIONS.c.deleted_at.is_(None))
    .order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.type)
)
SHOWN_OF_ORGANIZATION = prepared(_SHOWN.where(CONNECTIONS.c.organization_id == bindparam("organization_id")))
_SHOWN_ONE = prepared(_SHOWN.where(CONNECTIONS.c.id == bindparam("id")))
_BY_TYPE = prepared(
    select(CONNECTIONS.c.id).where(
        CONNECTIONS.c.organization_id == bindparam("organization_id"),
        CONNECTIONS.c.type == bindparam("type"),
        CONNECTIONS.c.deleted_at.is_(None),
    )
)
# In the order of their ids, so that two batches never wait for each other. Deleted ones, too: nobody may bring one back
# before it is read.
_LOCK = (
    select(CONNECTIONS.c.id)
    .where(CONNECTIONS.c.id == any_(_IDS))
    .order_by(CONNECTIONS.c.id)
    .with_for_update(key_share=True)
)


def _locked(*operations: ColumnElement[bool]) -> Select[Any]:
    """Return the query of connections with some of their operations, all locked, in one round trip.

    A worker that claims attempts locks operations alone, in the same order; it must not slip in before we write.

    The join is full, which PostgreSQL does by hashes or by merging: it expects one operation and would go through all
    of them for each connection, thirty thousand pairs for a batch. So a row may have no connection: it was deleted.
    """
    theirs = select(*OPERATION_COLUMNS).where(*operations).order_by(OPERATIONS.c.id).with_for_update(key_share=True)
    found = theirs.cte("theirs")
    seen = select(*CONNECTION_COLUMNS).where(CONNECTIONS.c.id == any_(_IDS), CONNECTIONS.c.deleted_at.is_(None))
    wanted = seen.cte("wanted")
    return prepared(
        select(*wanted.c, *found.c)
        .select_from(wanted.outerjoin(found, found.c.connection_id == wanted.c.id, full=True))
        .order_by(wanted.c.id, found.c.id),
        before=_LOCK,
    )


_WITH_OPEN = _locked(_THEIRS, _IS_OPEN)
# "Theirs" is said for each half, so that each has an index.
_WITH_OPEN_OR_NAMED = _locked(or_(and_(_THEIRS, _IS_OPEN), and_(_THEIRS, OPERATIONS.c.id == any_(_NAMED))))


def _last_finished() -> Select[Any]:
    """Return the query of each connection's last finished operation of each kind, an index look-up for each."""
    ids = func.unnest(_IDS).table_valued(column("id", Uuid), name="ids").render_derived()
    last = (
        select(*OPERATION_COLUMNS)
        .where(OPERATIONS.c.connection_id == ids.c.id, OPERATIONS.c.kind == KINDS.c.kind)
        .where(OPERATIONS.c.finished_at.is_not(None))
        .order_by(OPERATIONS.c.id.desc())
        .limit(1)
        .lateral("last")
    )
    return select(last).select_from(ids.join(KINDS, true()).join(last, true()))


_LAST_FINISHED = prepared(_last_finished())
# What is told of a moment is of the sync before it, or of one of the two after it.
_NEIGHBOURS = 3
# What a request asked for keeps its id, and may end after syncs of the service's own that have later ones: so far back.
_OVERTAKEN = 10


def _around() -> CompoundSelect[Any]:
    """Return the query of what had ended about some moments: for each the sync before it, and the first two after.

    The moments are the external service's; see `place_of` in `app/domain/places.py`. Ids have the order of history, so
    that the search goes back from the newest, as far as a report is late.
    """
    asked = (
        func.unnest(_IDS, bindparam("moments", type_=ARRAY(DateTime(timezone=True))))
        .table_valued(column("id", Uuid), column("moment", DateTime(timezone=True)), name="asked")
        .render_derived()
    )

    def ended(table: FromClause) -> ColumnElement[bool]:
        return and_(table.c.connection_id == asked.c.id, table.c.kind == "sync", table.c.finished_at.is_not(None))

    def place(table: FromClause) -> ColumnElement[datetime]:
        # The greatest of what there is; nothing is told of the others by that clock.
        return func.coalesce(func.greatest(table.c.last_reported_at, table.c.asked_after), literal(BEGINNING))

    earlier = OPERATIONS.alias("earlier")
    before = (
        select(earlier.c.id)
        .where(ended(earlier), place(earlier) < asked.c.moment)
        .order_by(earlier.c.id.desc())
        .limit(1)
        .lateral("before")
    )
    first, theirs = func.coalesce(before.c.id, literal(FIRST_ID)), select(*OPERATION_COLUMNS).where(ended(OPERATIONS))
    near = theirs.where(OPERATIONS.c.id >= first).order_by(OPERATIONS.c.id).limit(_NEIGHBOURS).lateral("near")
    older = theirs.where(OPERATIONS.c.id < first).order_by(OPERATIONS.c.id.desc()).limit(_OVERTAKEN).lateral("older")
    wanted = asked.outerjoin(before, true())
    return union_all(
        select(near).select_from(wanted.join(near, true())),
        select(older).select_from(wanted.join(older, true())).where(place(older) >= asked.c.moment),
    )


_AROUND = _around()


def show(session: Session, query: Select[Any], **values: Any) -> list[Case]:
    """Return the aggregates that a query of connections with operations gives, in one round trip: nothing is as common."""
    cases: dict[UUID, Case] = {}
    # All at once: asked for one by one, they go through four functions of SQLAlchemy each.
    for row in session.execute(query, values).all():
        # Operations without a connection: see `_locked`.
        if row[0] is None:
            continue
        case = cases.get(row[0])
        if case is None:
            case = cases[row[0]] = Case(Connection(*row[: len(CONNECTION_COLUMNS)]))
        operation = row[len(CONNECTION_COLUMNS) :]
        if operation[0] is not None:
            case.operations[operation[0]] = Operation(*operation)
    return list(cases.values())


def show_one(session: Session, connection_id: UUID) -> Case:
    """Return one connection to look at. Raises NotFound."""
    return _the_one(show(session, _SHOWN_ONE, id=connection_id))


def read(session: Session, connection_ids: Collection[UUID], *, named: Collection[UUID] = ()) -> dict[UUID, Case]:
    """Return the aggregates of those connections that are visible and undeleted, locked for writing, by id.

    Each has its open operations, and of those in `named` its own.
    """
    ids = {"ids": list(connection_ids)}
    cases = show(session, _WITH_OPEN_OR_NAMED, **ids, named=list(named)) if named else show(session, _WITH_OPEN, **ids)
    for case in cases:
        case.mark_stored()
    return {case.connection.id: case for case in cases}


def recall(session: Session, cases: Mapping[UUID, Sequence[datetime]], read: Mapping[UUID, Case]) -> None:
    """Add what has ended to aggregates in which nothing has changed yet: the last of each kind, and what is about moments.

    The moments are the external service's, by connection.
    """
    if not cases:
        return
    found = session.execute(_LAST_FINISHED, {"ids": list(cases)}).all()
    pairs = [(connection_id, moment) for connection_id, moments in cases.items() for moment in set(moments)]
    if pairs:
        ids, moments = zip(*pairs, strict=True)
        found = [*found, *session.execute(_AROUND, {"ids": list(ids), "moments": list(moments)}).all()]
    for row in found:
        operation = Operation(*row)
        read[operation.connection_id].operations.setdefault(operation.id, operation)
    for connection_id in cases:
        read[connection_id].mark_stored()


def one(session: Session, connection_id: UUID, *, named: Collection[UUID] = ()) -> Case:
    """Return the aggregate of one connection, locked. Raises NotFound."""
    return _the_one(list(read(session, [connection_id], named=named).values()))


def one_of_type(session: Session, organization_id: UUID, type_name: str) -> Case:
    """Return the aggregate of an organization's connection of a type, locked. Raises NotFound."""
    connection_id = session.scalar(_BY_TYPE, {"organization_id": organization_id, "type": type_name})
    return _the_one([] if connection_id is None else list(read(session, [connection_id]).values()))


def _the_one(cases: list[Case]) -> Case:
    if not cases:
        raise errors.NotFound("Your organization has no such data source")
    return cases[0]


def write(session: Session, cases: Iterable[Case], *, actor: Actor, now: datetime) -> list[Change]:
    """Write what changed in the aggregates, with one audit row for each change that a person would ask about.

    Returns the changes in order, for the events. A new connection of a type that the organization has already is left
    out, with its changes. Raises OperationInProgress if another transaction opened an operation of the same kind.
    """
    cases = list(cases)
    inserted = rows.insert_new(session, [case.connection for case in cases if case.is_new])
    cases = [case for case in cases if not case.is_new or case.connection.id in inserted]
    changes = [change for case in cases for change in case.changes]
    stale = [(case, difference) for case in cases if (difference := case.changed_connection()) is not None]
    changed = [difference for case in cases for difference in case.changed_operations()]
    opened = [operation for case in cases for operation in case.new_operations()]
    if changed and opened:
        # On their own, ended ones first: the guard allows one open operation of a kind at any moment.
        rows.write(session, changed=changed)
        changed = []
    updated_at = rows.write(
        session,
        stale=[difference for _, difference in stale],
        changed=changed,
        opened=opened,
        audited=[_audit_row(change, actor=actor, now=now) for change in changes if _is_audited(change)],
    )
    for case, _ in stale:
        for connection in (case.connection, *[change.connection for change in case.changes]):
            connection.updated_at = updated_at
    for case in cases:
        case.mark_stored()
    return changes


# Steps on the way that change no status and no setting: pushed to browsers, counted on the operation, not audited.
_UNAUDITED = {"verify.delivered", "sync.delivered", "verify.delayed", "sync.delayed", "sync.progress"}


def _is_audited(change: Change) -> bool:
    return change.action not in _UNAUDITED


def _audit_row(change: Change, *, actor: Actor, now: datetime) -> Values:
    """Return the values of an audit row, in the order of the table's columns."""
    connection, operation = change.connection, change.operation
    return (
        ids.made_at(now),
        connection.organization_id,
        connection.id,
        operation and operation.id,
        actor.type,
        actor.id,
        actor.email,
        change.action,
        {name: (abridged(old), abridged(new)) for name, (old, new) in change.fields.items()},
        actor.request_id or (operation and operation.request_id),
        now,
    )
