"""Organizations are made by the rest of Rita; this backend learns of one when a verified token names it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert

from app.extensions import Session
from app.models import DataSourceConnection, Organization


def ensure_organization(session: Session, organization_id: UUID) -> None:
    """Make sure that the organization's row exists."""
    session.execute(insert(Organization).values(id=organization_id).on_conflict_do_nothing())


def list_organizations_with_counts(session: Session, *, limit: int) -> Sequence[Row[UUID, datetime, int, int]]:
    """Return (id, created_at, connections, at_work) of organizations, newest first, in the session's scope."""
    connection = DataSourceConnection
    query = (
        select(
            Organization.id,
            Organization.created_at,
            func.count(connection.id).label("connections"),
            func.count().filter(connection.status != "idle").label("at_work"),
        )
        .outerjoin(connection, (connection.organization_id == Organization.id) & connection.deleted_at.is_(None))
        .group_by(Organization.id)
        .order_by(Organization.created_at.desc(), Organization.id)
        .limit(limit)
    )
    return session.execute(query).all()
