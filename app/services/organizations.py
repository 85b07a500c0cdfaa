"""Organizations are made by the rest of Rita; this backend learns of one when a verified token names it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.models import Organization


def ensure(session: Session, organization_id: UUID) -> None:
    """Make sure that the organization's row exists."""
    session.execute(insert(Organization).values(id=organization_id).on_conflict_do_nothing())
