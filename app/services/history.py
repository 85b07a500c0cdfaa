"""What has happened to a connection: its operations and its audit trail, newest first, a page at a time.

A page ends with an id, and the next one begins before it: ids are ordered by time (UUID version 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, true

from app import errors
from app.domain.cases import Operation
from app.extensions import Session
from app.services import ledger

OPERATIONS, AUDIT = ledger.OPERATIONS.c, ledger.AUDIT.c


def operation(session: Session, operation_id: UUID) -> Operation:
    """Return one operation. Raises NotFound."""
    row = session.execute(select(*ledger.OPERATION_COLUMNS).where(OPERATIONS.id == operation_id)).one_or_none()
    if row is None:
        raise errors.NotFound("Your organization has no such operation")
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


def operations(session: Session, connection_id: UUID, *, before: UUID | None, limit: int) -> list[Operation]:
    """Return a connection's operations, newest first. Raises NotFound for a connection that is not there."""
    _require(session, connection_id)
    past = ledger.OPERATIONS.alias("past")
    # Of each kind the newest, for that is what the index is ordered by; then the newest of these.
    newest = (
        select(*[past.c[column.name] for column in ledger.OPERATION_COLUMNS])
        .where(past.c.connection_id == connection_id, past.c.kind == ledger.KINDS.c.kind, *_before(past.c.id, before))
        .order_by(past.c.id.desc())
        .limit(limit)
        .lateral("newest")
    )
    query = select(newest).select_from(ledger.KINDS.join(newest, true())).order_by(newest.c.id.desc()).limit(limit)
    return [Operation(**row._asdict()) for row in session.execute(query)]


def audit(
    session: Session, organization_id: UUID, connection_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """Return a connection's audit rows, newest first. Raises NotFound for a connection that is not there."""
    _require(session, connection_id)
    query = (
        select(ledger.AUDIT)
        .where(AUDIT.organization_id == organization_id, AUDIT.connection_id == connection_id)
        .where(*_before(AUDIT.id, before))
        .order_by(AUDIT.id.desc())
        .limit(limit)
    )
    return session.execute(query).all()


def _require(session: Session, connection_id: UUID) -> None:
    ledger.show_one(session, connection_id)


def _before(column: ColumnElement[UUID], cursor: UUID | None) -> tuple[ColumnElement[bool], ...]:
    return () if cursor is None else (column < cursor,)
