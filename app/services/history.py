"""What has happened to a connection: its operations and its audit trail, newest first, a page at a time.

A page ends with an id, and the next one begins before it: ids are ordered by time (UUID version 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, cast, func, or_, select, true

from app import errors
from app.domain.cases import Operation
from app.extensions import Session
from app.services import ledger

OPERATIONS, AUDIT = ledger.OPERATIONS.c, ledger.AUDIT.c

# What the rows of one page may weigh in bytes of text, whatever they hold: a process has several copies of a page.
LARGEST_PAGE = 2 * 2**20
# What a webhook was asked to carry is not shown, and as large as a configuration.
_SHOWN = [column.name for column in ledger.OPERATION_COLUMNS if column.name != "request"]


class Page(NamedTuple):
    """Rows, newest first, and the id before which the next page begins, if there may be one."""

    rows: Sequence[Any]
    next: UUID | None


def operation(session: Session, operation_id: UUID) -> Operation:
    """Return one operation. Raises NotFound."""
    row = session.execute(select(*ledger.OPERATION_COLUMNS).where(OPERATIONS.id == operation_id)).one_or_none()
    if row is None:
        raise errors.NotFound("There is no operation with this id")
    return Operation(**row._asdict())


def find(session: Session, *, organization_id: UUID | None, states: Sequence[str], limit: int) -> list[Operation]:
    """Return operations in these states, oldest first; with a session of the system's scope, of all organizations."""
    where: list[ColumnElement[bool]] = [OPERATIONS.state.in_(states)]
    if organization_id is not None:
        where.append(OPERATIONS.organization_id == organization_id)
    query = select(*ledger.OPERATION_COLUMNS).where(*where).order_by(OPERATIONS.id).limit(limit)
    return [Operation(**row._asdict()) for row in session.execute(query)]


def by_key(session: Session, connection_id: UUID, idempotency_key: str) -> Operation | None:
    """Return the operation of a connection that was asked for under this key."""
    row = session.execute(
        select(*ledger.OPERATION_COLUMNS).where(
            OPERATIONS.connection_id == connection_id, OPERATIONS.idempotency_key == idempotency_key
        )
    ).one_or_none()
    return Operation(**row._asdict()) if row else None


def operations(session: Session, connection_id: UUID, *, before: UUID | None, limit: int) -> Page:
    """Return a connection's operations. Raises NotFound for a connection that is not there."""
    _require(session, connection_id)
    past = ledger.OPERATIONS.alias("past")
    # Of each kind the newest, for that is what the index is ordered by; then the newest of these.
    newest = (
        select(*[past.c[name] for name in _SHOWN])
        .where(past.c.connection_id == connection_id, past.c.kind == ledger.KINDS.c.kind, *_before(past.c.id, before))
        .order_by(past.c.id.desc())
        .limit(limit)
        .lateral("newest")
    )
    query = select(newest).select_from(ledger.KINDS.join(newest, true())).order_by(newest.c.id.desc()).limit(limit)
    found = _page(session, query, limit=limit)
    return found._replace(rows=[Operation(**{name: getattr(row, name) for name in _SHOWN}) for row in found.rows])


def audit(session: Session, organization_id: UUID, connection_id: UUID, *, before: UUID | None, limit: int) -> Page:
    """Return a connection's audit rows. Raises NotFound for a connection that is not there."""
    _require(session, connection_id)
    query = (
        select(ledger.AUDIT)
        .where(AUDIT.organization_id == organization_id, AUDIT.connection_id == connection_id)
        .where(*_before(AUDIT.id, before))
        .order_by(AUDIT.id.desc())
        .limit(limit)
    )
    return _page(session, query, limit=limit)


def _page(session: Session, query: Select[Any], *, limit: int) -> Page:
    """Return the rows of a query, newest first, up to LARGEST_PAGE, but always one."""
    page = query.subquery("page")
    newest = page.c.id.desc()
    weight = func.octet_length(cast(page.table_valued(), Text))
    weighed = select(
        *page.c,
        func.sum(weight).over(order_by=newest).label("so_far"),
        func.row_number().over(order_by=newest).label("number"),
        func.count().over().label("found"),
    ).subquery("weighed")
    fits = or_(weighed.c.so_far <= LARGEST_PAGE, weighed.c.number == 1)
    rows = session.execute(select(weighed).where(fits).order_by(weighed.c.id.desc())).all()
    goes_on = bool(rows) and (len(rows) < rows[0].found or len(rows) == limit)
    return Page(rows, rows[-1].id if goes_on else None)


def _require(session: Session, connection_id: UUID) -> None:
    ledger.show_one(session, connection_id)


def _before(column: ColumnElement[UUID], cursor: UUID | None) -> tuple[ColumnElement[bool], ...]:
    return () if cursor is None else (column < cursor,)
