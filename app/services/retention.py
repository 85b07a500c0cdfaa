"""History has an end: finished operations and audit rows past their retention go, a batch at a time."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import CursorResult, delete, select

from app.extensions import Session
from app.services import ledger

# Small enough to hold its locks for milliseconds.
BATCH = 1_000


def purge_operations(session: Session, *, before: datetime) -> int:
    """Delete one batch of operations that finished before then; return how many."""
    columns = ledger.OPERATIONS.c
    old = select(columns.id).where(columns.finished_at < before).limit(BATCH)
    return _count(session, delete(ledger.OPERATIONS).where(columns.id.in_(old)))


def purge_audit(session: Session, *, before: datetime) -> int:
    """Delete one batch of audit rows written before then; return how many."""
    columns = ledger.AUDIT.c
    old = select(columns.id).where(columns.created_at < before).limit(BATCH)
    return _count(session, delete(ledger.AUDIT).where(columns.id.in_(old)))


def _count(session: Session, statement: object) -> int:
    return cast(CursorResult[object], session.execute(statement)).rowcount  # type: ignore[call-overload]
