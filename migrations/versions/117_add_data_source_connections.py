"""The connections of every organization, which no other organization's session can see."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "117"
down_revision = "116"
branch_labels = None
depends_on = None


def _moment(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def upgrade() -> None:
    role = op.get_bind().dialect.identifier_preparer.quote(context.get_context().opts["application_role"])
    op.create_table(
        "data_source_connections",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column("organization_id", sa.Uuid, sa.ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("config", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("status", sa.Text, nullable=False, server_default="idle"),
        sa.Column("last_sync_status", sa.Text),
        sa.Column("latest_options", postgresql.JSONB),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _moment("last_verification_at"),
        sa.Column("last_verification_error", sa.Text),
        _moment("last_sync_at"),
        sa.Column("last_sync_error", sa.Text),
        sa.Column("created_by", sa.Uuid, nullable=False),
        sa.Column("updated_by", sa.Uuid, nullable=False),
        _moment("created_at", nullable=False, server_default=sa.func.now()),
        _moment("updated_at", nullable=False, server_default=sa.func.now()),
        _moment("deleted_at"),
        _moment("first_enabled_at"),
        _moment("verified_at"),
        _moment("sync_reported_at"),
        sa.Column("sync_reported_rank", sa.SmallInteger),
        sa.UniqueConstraint("organization_id", "type", name="unique_type_per_org"),
        sa.UniqueConstraint("organization_id", "id", name="unique_id_per_org"),
    )
    index = "idx_data_source_connections"
    op.create_index(f"{index}_org_id", "data_source_connections", ["organization_id"])
    op.create_index(f"{index}_type", "data_source_connections", ["type"])
    op.create_index(f"{index}_status", "data_source_connections", ["status"])
    op.create_index(f"{index}_enabled", "data_source_connections", ["enabled"], postgresql_where=sa.text("enabled"))
    op.create_index(f"{index}_org_type", "data_source_connections", ["organization_id", "type"])
    op.execute(
        f"""
        CREATE TRIGGER update_data_source_connections_updated_at BEFORE UPDATE ON data_source_connections
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

        ALTER TABLE data_source_connections ENABLE ROW LEVEL SECURITY;
        ALTER TABLE data_source_connections FORCE ROW LEVEL SECURITY;
        CREATE POLICY data_source_connections_of_tenant ON data_source_connections
            USING (organization_id = ANY ((SELECT current_organization_ids())::uuid[]));
        CREATE POLICY data_source_connections_of_system ON data_source_connections
            USING ((SELECT is_system_scope()));
        GRANT SELECT, INSERT, UPDATE ON data_source_connections TO {role};
        """
    )


def downgrade() -> None:
    op.drop_table("data_source_connections")
