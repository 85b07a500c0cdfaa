from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model

_IS_OPEN_SQL = "state IN ('pending', 'delivered', 'running')"
_HAS_KEY = text("idempotency_key IS NOT NULL")
_HAS_DEADLINE = text(f"deadline_at IS NOT NULL AND {_IS_OPEN_SQL}")


class Operation(Model):
    """One question to the external service: outbox, retry state, guard, deadline, attempt log and history in one."""

    __tablename__ = "operations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["data_source_connections.organization_id", "data_source_connections.id"],
            name="fk_operations_connection",
            ondelete="CASCADE",
        ),
        CheckConstraint("kind IN ('verify', 'sync')", name="ck_operations_kind"),
        CheckConstraint("origin IN ('user', 'service')", name="ck_operations_origin"),
        CheckConstraint(
            "state IN ('pending', 'delivered', 'running', 'succeeded', 'failed', 'undelivered', 'expired', 'replaced')",
            name="ck_operations_state",
        ),
        # The guard against two at a time.
        Index("uq_operations_open", "connection_id", "kind", unique=True, postgresql_where=text(_IS_OPEN_SQL)),
        Index(
            "uq_operations_idempotency_key", "connection_id", "idempotency_key", unique=True, postgresql_where=_HAS_KEY
        ),
        Index("idx_operations_history", "connection_id", "kind", "id"),
        Index("idx_operations_due", "next_attempt_at", postgresql_where=text("state = 'pending'")),
        # Without `IS NOT NULL` it would be one of all that is open, read whole whenever PostgreSQL takes that for few.
        Index("idx_operations_deadline", "deadline_at", postgresql_where=_HAS_DEADLINE),
    )

    # Time-ordered (UUID version 7); the webhook's id and `operation_id`.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    kind: Mapped[str]
    origin: Mapped[str]
    state: Mapped[str]
    requested_by: Mapped[UUID | None]
    requested_email: Mapped[str | None]
    request_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    # What the webhook says beside the connection itself; of a verification nothing, for nothing of it is stored.
    request: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    attempt_log: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    next_attempt_at: Mapped[datetime | None]
    # Until then a job for it is believed to be in the broker, and the dispatcher sends no other.
    queued_until: Mapped[datetime | None]
    # Until then one worker may post it and no other.
    claimed_until: Mapped[datetime | None]
    last_status_code: Mapped[int | None]
    last_attempt_error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    # The external service's own clock, never compared with ours.
    last_reported_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    documents_processed: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None]
    # The answer came after we had stopped waiting, and repaired the history.
    reported_late: Mapped[bool] = mapped_column(server_default=text("false"))
    # Of earlier releases, which counted here what had changed nothing.
    late_reports: Mapped[int] = mapped_column(server_default=text("0"))
    # What it was told with a time, by the external service's clock: see `app/domain/report_log.py`.
    reports: Mapped[str | None]
    # Whatever was reported until then, by the external service's clock, is of what came before.
    asked_after: Mapped[datetime | None]
    created_at: Mapped[datetime]
