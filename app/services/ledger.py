"""Cases in and out of the database, set-wise: the one reader with locks, the one writer of state, history and audit.

One statement serves one row or five hundred alike, so a press and a flood of messages take the same road. See
`docs/decisions/0003-one-ledger.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Select,
    Table,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import Text, Uuid
from uuid6 import uuid7

from app import errors, models
from app.domain.actors import Actor
from app.domain.cases import NAMES, OPEN, Case, Change, Connection, Operation, values_of

CONNECTIONS = cast(Table, models.DataSourceConnection.__table__)
OPERATIONS = cast(Table, models.Operation.__table__)
AUDIT = cast(Table, models.AuditLog.__table__)

# A function of one parameter, so that the statement is compiled once: `VALUES` would be compiled anew each time.
KINDS = (
    func.unnest(literal(["verify", "sync"], ARRAY(Text)))
    .table_valued(column("kind", Text), name="kinds")
    .render_derived()
)

CONNECTION_COLUMNS = [CONNECTIONS.c[name] for name in NAMES[Connection]]
OPERATION_COLUMNS = [OPERATIONS.c[name] for name in NAMES[Operation]]


# Statements are put together once: building and compiling one of thirty columns takes longer than running it.
_IDS, _NAMED = bindparam("ids", type_=ARRAY(Uuid)), bindparam("named", type_=ARRAY(Uuid))
_THEIRS = OPERATIONS.c.connection_id == any_(_IDS)
_CONNECTIONS = select(*CONNECTION_COLUMNS).where(CONNECTIONS.c.deleted_at.is_(None))
# The open ones are few however long the history. An array leaves the statement as it is; `IN` would be put in anew.
_IS_OPEN = OPERATIONS.c.state == any_(literal(sorted(OPEN), ARRAY(Text)))
_OPEN = select(*OPERATION_COLUMNS).where(_THEIRS, _IS_OPEN)
_SHOWN = (
    select(*CONNECTION_COLUMNS, *OPERATION_COLUMNS)
    .select_from(CONNECTIONS.outerjoin(OPERATIONS, and_(OPERATIONS.c.connection_id == CONNECTIONS.c.id, _IS_OPEN)))
    .where(CONNECTIONS.c.deleted_at.is_(None))
    .order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.type)
)
SHOWN_OF_ORGANIZATION = _SHOWN.where(CONNECTIONS.c.organization_id == bindparam("organization_id"))
_SHOWN_ONE = _SHOWN.where(CONNECTIONS.c.id == bindparam("id"))
# "Theirs" is said for each half, so that each has an index.
_OPEN_OR_NAMED = select(*OPERATION_COLUMNS).where(
    or_(and_(_THEIRS, _IS_OPEN), and_(_THEIRS, OPERATIONS.c.id == any_(_NAMED)))
)


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


_LAST_FINISHED = _last_finished()


def show(session: Session, query: Select[Any], **values: Any) -> list[Case]:
    """Return cases to look at, unlocked, with what is open: one statement, since nothing is asked for as often."""
    cases: dict[UUID, Case] = {}
    for row in session.execute(query, values):
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


def read(
    session: Session, *where: ColumnElement[bool], history: bool = False, named: Collection[UUID] = ()
) -> dict[UUID, Case]:
    """Return the cases of the visible, undeleted connections that satisfy `where`, locked for writing, by id.

    They are locked in the order of their ids, so that two batches never wait for each other; `history` adds the last
    finished operation of each kind to the open ones, and `named` adds operations by id.
    """
    query = _CONNECTIONS.where(*where).order_by(CONNECTIONS.c.id).with_for_update(key_share=True)
    cases = {row.id: Case(Connection(*row)) for row in session.execute(query)}
    if cases:
        for operation in _operations(session, list(cases), history=history, named=named):
            cases[operation.connection_id].operations[operation.id] = operation
    for case in cases.values():
        case.mark_stored()
    return cases


def one(session: Session, *where: ColumnElement[bool], named: Collection[UUID] = ()) -> Case:
    """Return the one case that satisfies `where`, locked. Raises NotFound."""
    return _the_one(list(read(session, *where, named=named).values()))


def _the_one(cases: list[Case]) -> Case:
    if not cases:
        raise errors.NotFound("Your organization has no such data source")
    return cases[0]


def _operations(
    session: Session, connection_ids: list[UUID], *, history: bool, named: Collection[UUID]
) -> Iterable[Operation]:
    ids = {"ids": connection_ids}
    query, wanted = (_OPEN_OR_NAMED, ids | {"named": list(named)}) if named else (_OPEN, ids)
    # A worker that claims an attempt locks the operation alone; it must not slip in before we write.
    rows = list(session.execute(query.with_for_update(key_share=True), wanted))
    if history:
        rows += session.execute(_LAST_FINISHED, ids)
    return {row.id: Operation(*row) for row in rows}.values()


def write(session: Session, cases: Iterable[Case], *, actor: Actor, now: datetime) -> list[Change]:
    """Write what changed in the cases, with one audit row for each change that a person would ask about.

    Returns the changes in order, for the events. A new connection of a type that the organization has already is left
    out, with its changes. Raises OperationInProgress if another transaction opened an operation of the same kind.
    """
    cases = list(cases)
    inserted = _insert_new(session, CONNECTIONS, [case.connection for case in cases if case.is_new])
    cases = [case for case in cases if not case.is_new or case.connection.id in inserted]
    changes = [change for case in cases for change in case.changes]
    stale = [case for case in cases if not case.is_new and case.connection_changed]
    updated_at = _update(session, CONNECTIONS, [(case.connection, case.stored) for case in stale])
    for case in stale:
        for connection in (case.connection, *[change.connection for change in case.changes]):
            connection.updated_at = updated_at
    # Ended ones first: the guard allows one open operation of a kind at any moment.
    _update(session, OPERATIONS, [pair for case in cases for pair in case.changed_operations()])
    opened = [operation for case in cases for operation in case.new_operations()]
    if _insert(session, OPERATIONS, [_record(operation) for operation in opened]) < len(opened):
        raise errors.OperationInProgress("Another request for this data source came first")
    _insert(session, AUDIT, [_audit_row(change, actor=actor, now=now) for change in changes if _is_audited(change)])
    for case in cases:
        case.mark_stored()
    return changes


# Steps on the way that change no status and no setting: pushed to browsers, counted on the operation, not audited.
_UNAUDITED = {"verify.delivered", "sync.delivered", "verify.delayed", "sync.delayed", "sync.progress"}


def _is_audited(change: Change) -> bool:
    return change.action not in _UNAUDITED


def _audit_row(change: Change, *, actor: Actor, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "organization_id": change.connection.organization_id,
        "connection_id": change.connection.id,
        "operation_id": change.operation and change.operation.id,
        "actor_type": actor.type,
        "actor_id": actor.id,
        "actor_email": actor.email,
        "action": change.action,
        "changes": change.fields,
        "request_id": actor.request_id or (change.operation and change.operation.request_id),
        "created_at": now,
    }


def _record(row: Connection | Operation) -> dict[str, Any]:
    return dict(zip(NAMES[type(row)], values_of(row), strict=True))


@cache
def _rows_of(table: Table, names: tuple[str, ...]) -> TableValuedAlias:
    """Return the parameter `rows`, a JSON array of records, as a table with the types of `table`'s columns."""
    rows = func.jsonb_to_recordset(bindparam("rows", type_=JSONB))
    return rows.table_valued(*[column(name, table.c[name].type) for name in names], name="r").render_derived(
        with_types=True
    )


@cache
def _insert_statement(table: Table, names: tuple[str, ...]) -> Insert:
    return postgresql_insert(table).from_select(list(names), select(_rows_of(table, names))).on_conflict_do_nothing()


@lru_cache(maxsize=500)
def _update_statement(table: Table, names: tuple[str, ...]) -> Any:
    rows = _rows_of(table, ("id", *names))
    return update(table).where(table.c.id == rows.c.id).values({name: rows.c[name] for name in names})


# A row keeps its identity, and the trigger keeps `updated_at`.
_FIXED = frozenset({"id", "organization_id", "connection_id", "type", "created_at", "created_by", "updated_at"})


def _insert(session: Session, table: Table, records: Sequence[dict[str, Any]]) -> int:
    """Insert records that are not there yet; return how many were not."""
    if not records:
        return 0
    statement = _insert_statement(table, tuple(records[0]))
    return cast(CursorResult[Any], session.execute(statement, {"rows": records})).rowcount


def _insert_new(session: Session, table: Table, rows: Sequence[Connection]) -> set[UUID]:
    """Insert rows that are not there yet; return the ids of those that were not."""
    if not rows:
        return set()
    records = [_record(row) for row in rows]
    statement = _insert_statement(table, tuple(records[0])).returning(table.c.id)
    return set(session.scalars(statement, {"rows": records}))


def _update(session: Session, table: Table, rows: Sequence[tuple[Any, Any]]) -> Any:
    """Write what differs between rows and what is stored of them, by id; return the `updated_at` of all.

    Each row gets every column that differs in any of them: few as a rule, which is a third of the work of writing all.
    """
    if not rows:
        return None
    names = NAMES[type(rows[0][0])]
    pairs = [(values_of(row), values_of(stored)) for row, stored in rows]
    differing = {name for new, old in pairs for name, a, b in zip(names, new, old, strict=True) if a != b}
    columns = tuple(name for name in names if name in differing and name not in _FIXED)
    values = attrgetter("id", *columns)
    records = [dict(zip(("id", *columns), values(row), strict=True)) for row, _ in rows]
    statement = _update_statement(table, columns)
    if "updated_at" not in table.c:
        session.execute(statement, {"rows": records})
        return None
    # The trigger gives every row the moment at which the transaction began.
    return session.execute(statement.returning(table.c.updated_at), {"rows": records}).scalars().first()
