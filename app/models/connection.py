from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model


class DataSourceConnection(Model):
    """An organization's link to one source. `status` is what happens now, `last_sync_status` what happened last."""

    __tablename__ = "data_source_connections"
    __table_args__ = (
        UniqueConstraint("organization_id", "type", name="unique_type_per_org"),
        # What an operation refers to, so that it cannot belong to another organization than its connection.
        UniqueConstraint("organization_id", "id", name="unique_id_per_org"),
        Index("idx_data_source_connections_org_id", "organization_id"),
        Index("idx_data_source_connections_type", "type"),
        # By ranges of pages, so that a change of status leaves every index as it is.
        Index("idx_data_source_connections_status", "status", postgresql_using="brin"),
        Index("idx_data_source_connections_enabled", "enabled", postgresql_where=text("enabled")),
        Index("idx_data_source_connections_org_type", "organization_id", "type"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    type: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    status: Mapped[str] = mapped_column(server_default="idle")
    last_sync_status: Mapped[str | None]
    latest_options: Mapped[dict[str, str | list[str]] | None] = mapped_column(JSONB(none_as_null=True))
    enabled: Mapped[bool] = mapped_column(server_default=text("false"))
    last_verification_at: Mapped[datetime | None]
    last_verification_error: Mapped[str | None]
    last_sync_at: Mapped[datetime | None]
    last_sync_error: Mapped[str | None]
    created_by: Mapped[UUID]
    updated_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]
    # Tells `unconfigured` (never enabled) from switched off.
    first_enabled_at: Mapped[datetime | None]
    # The last good verification; a failed one since does not take the credentials away.
    verified_at: Mapped[datetime | None]
    # How the last of each kind ended: a name of `app/domain/endings.py`, null where an earlier release wrote it.
    last_verification_ending: Mapped[str | None]
    last_sync_ending: Mapped[str | None]
    last_sync_documents: Mapped[int | None] = mapped_column(BigInteger)
    # The newest sync report applied: the external service's clock, and the report's rank among those of one instant.
    sync_reported_at: Mapped[datetime | None]
    sync_reported_rank: Mapped[int | None] = mapped_column(SmallInteger)
