"""History has an end: finished operations and audit rows past their retention go, a batch at a time.

Both are found by their ids, which begin with the moment at which they were made: an index on the time itself would be
written with every row, for one reader a night. See `docs/decisions/0021-purge-by-id.md`.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, CursorResult, Table, delete, select

from app.domain import ids
from app.extensions import Session
from app.services.tables import AUDIT, OPERATIONS

# Small enough to hold its locks for milliseconds.
PURGE_BATCH_SIZE = 1_000


def purge_operations(session: Session, *, before: datetime) -> int:
    """Delete one batch of operations that finished before then; return how many."""
    return _purge_batch(session, OPERATIONS, OPERATIONS.c.finished_at < before, before=before)


def purge_audit_rows(session: Session, *, before: datetime) -> int:
    """Delete one batch of audit rows written before then; return how many."""
    return _purge_batch(session, AUDIT, AUDIT.c.created_at < before, before=before)


def _purge_batch(session: Session, table: Table, age_condition: ColumnElement[bool], *, before: datetime) -> int:
    # What is old was made earlier still. In the order of the ids, or PostgreSQL might read the whole table for a few.
    oldest_first = select(table.c.id).where(table.c.id < ids.lowest_id_at(before), age_condition).order_by(table.c.id)
    old = oldest_first.limit(PURGE_BATCH_SIZE)
    return cast(CursorResult[object], session.execute(delete(table).where(table.c.id.in_(old)))).rowcount
