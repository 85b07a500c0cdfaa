"""What has happened to a connection: its operations and its audit trail, newest first, a page at a time.

A page ends with an id, and the next one begins before it: ids are ordered by time (UUID version 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, cast, func, or_, select, true

from app import errors
from app.domain.aggregate import Operation
from app.extensions import Session
from app.services import aggregate_store
from app.services.tables import AUDIT, KINDS, OPERATION_COLUMNS, OPERATIONS

# What the rows of one page may weigh in bytes of text, whatever they hold: a process has several copies of a page.
MAX_PAGE_BYTES = 2 * 2**20
# What a webhook was asked to carry is not shown, and as large as a configuration.
_SHOWN_COLUMN_NAMES = [column.name for column in OPERATION_COLUMNS if column.name != "request"]


class Page(NamedTuple):
    """Rows, newest first, and the id before which the next page begins, if there may be one."""

    rows: Sequence[Any]
    next_before_id: UUID | None


def get_operation(session: Session, operation_id: UUID) -> Operation:
    """Return one operation. Raises NotFound."""
    row = session.execute(select(*OPERATION_COLUMNS).where(OPERATIONS.c.id == operation_id)).one_or_none()
    if row is None:
        raise errors.NotFound("There is no operation with this id")
    return Operation(**row._asdict())


def find_operations(
    session: Session, *, organization_id: UUID | None, states: Sequence[str], limit: int
) -> list[Operation]:
    """Return operations in these states, oldest first; with a session of the system's scope, of all organizations."""
    where: list[ColumnElement[bool]] = [OPERATIONS.c.state.in_(states)]
    if organization_id is not None:
        where.append(OPERATIONS.c.organization_id == organization_id)
    query = select(*OPERATION_COLUMNS).where(*where).order_by(OPERATIONS.c.id).limit(limit)
    return [Operation(**row._asdict()) for row in session.execute(query)]


def find_operation_by_key(session: Session, connection_id: UUID, idempotency_key: str) -> Operation | None:
    """Return the operation of a connection that was asked for under this key."""
    is_asked_for = (OPERATIONS.c.connection_id == connection_id, OPERATIONS.c.idempotency_key == idempotency_key)
    row = session.execute(select(*OPERATION_COLUMNS).where(*is_asked_for)).one_or_none()
    return Operation(**row._asdict()) if row else None


def list_operations_page(session: Session, connection_id: UUID, *, before_id: UUID | None, limit: int) -> Page:
    """Return a connection's operations. Raises NotFound for a connection that is not there."""
    _require_connection(session, connection_id)
    past = OPERATIONS.alias("past")
    # Of each kind the newest, for that is what the index is ordered by; then the newest of these.
    of_kind = (past.c.connection_id == connection_id, past.c.kind == KINDS.c.kind, *_older_than(past.c.id, before_id))
    found = select(*[past.c[name] for name in _SHOWN_COLUMN_NAMES]).where(*of_kind)
    newest = found.order_by(past.c.id.desc()).limit(limit).lateral("newest")
    query = select(newest).select_from(KINDS.join(newest, true())).order_by(newest.c.id.desc()).limit(limit)
    page = _fetch_page(session, query, limit=limit)
    shown = [{name: getattr(row, name) for name in _SHOWN_COLUMN_NAMES} for row in page.rows]
    return page._replace(rows=[Operation(**values) for values in shown])


def list_audit_page(
    session: Session, organization_id: UUID, connection_id: UUID, *, before_id: UUID | None, limit: int
) -> Page:
    """Return a connection's audit rows. Raises NotFound for a connection that is not there."""
    _require_connection(session, connection_id)
    of_connection = (AUDIT.c.organization_id == organization_id, AUDIT.c.connection_id == connection_id)
    found = select(AUDIT).where(*of_connection, *_older_than(AUDIT.c.id, before_id))
    return _fetch_page(session, found.order_by(AUDIT.c.id.desc()).limit(limit), limit=limit)


def _fetch_page(session: Session, query: Select[Any], *, limit: int) -> Page:
    """Return the rows of a query, newest first, up to MAX_PAGE_BYTES, but always one."""
    page = query.subquery("page")
    newest = page.c.id.desc()
    weight = func.octet_length(cast(page.table_valued(), Text))
    weighed = select(
        *page.c,
        func.sum(weight).over(order_by=newest).label("so_far"),
        func.row_number().over(order_by=newest).label("number"),
        func.count().over().label("found"),
    ).subquery("weighed")
    fits = or_(weighed.c.so_far <= MAX_PAGE_BYTES, weighed.c.number == 1)
    rows = session.execute(select(weighed).where(fits).order_by(weighed.c.id.desc())).all()
    goes_on = bool(rows) and (len(rows) < rows[0].found or len(rows) == limit)
    return Page(rows, rows[-1].id if goes_on else None)


def _require_connection(session: Session, connection_id: UUID) -> None:
    aggregate_store.fetch_connection(session, connection_id)


def _older_than(column: ColumnElement[UUID], cursor: UUID | None) -> tuple[ColumnElement[bool], ...]:
    return () if cursor is None else (column < cursor,)
