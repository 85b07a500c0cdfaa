from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model


class AuditLog(Model):
    """Who changed what on which connection, field by field; written in the transaction that makes the change."""

    __tablename__ = "audit_logs"
    __table_args__ = (Index("idx_audit_logs_connection", "organization_id", "connection_id", "id"),)

    # Time-ordered (UUID version 7), by which it is found when its time is over.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    # No foreign keys. The trail goes with its organization by a trigger, which costs nothing when a row is written
    # (`docs/decisions/0023-no-foreign-key-from-the-audit-trail.md`), and outlives all else that it tells of.
    organization_id: Mapped[UUID]
    connection_id: Mapped[UUID | None]
    operation_id: Mapped[UUID | None]
    actor_type: Mapped[str]
    actor_id: Mapped[UUID | None]
    actor_email: Mapped[str | None]
    action: Mapped[str]
    # Each field's name, with its value before and after.
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    request_id: Mapped[str | None]
    created_at: Mapped[datetime]
