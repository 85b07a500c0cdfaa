"""Operations: what was asked of the external service, how far it got, and what it answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "119"
down_revision = "118"
branch_labels = None
depends_on = None

OPEN = "state IN ('pending', 'delivered', 'running')"


def _moment(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def upgrade() -> None:
    role = op.get_bind().dialect.identifier_preparer.quote(context.get_context().opts["application_role"])
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Uuid, nullable=False),
        sa.Column("connection_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Uuid),
        sa.Column("requested_email", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("request", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("attempt_log", postgresql.JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        _moment("next_attempt_at"),
        _moment("queued_until"),
        _moment("claimed_until"),
        sa.Column("last_status_code", sa.Integer),
        sa.Column("last_attempt_error", sa.Text),
        _moment("delivered_at"),
        _moment("started_at"),
        _moment("last_reported_at"),
        _moment("finished_at"),
        _moment("deadline_at"),
        sa.Column("documents_processed", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("reported_late", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("late_reports", sa.Integer, nullable=False, server_default=sa.text("0")),
        _moment("created_at", nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["data_source_connections.organization_id", "data_source_connections.id"],
            name="fk_operations_connection",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('verify', 'sync')", name="ck_operations_kind"),
        sa.CheckConstraint("origin IN ('user', 'service')", name="ck_operations_origin"),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'running', 'succeeded', 'failed', 'undelivered', 'expired', 'replaced')",
            name="ck_operations_state",
        ),
    )
    op.create_index(
        "uq_operations_open", "operations", ["connection_id", "kind"], unique=True, postgresql_where=sa.text(OPEN)
    )
    op.create_index("idx_operations_history", "operations", ["connection_id", "kind", "id"])
    op.create_index(
        "idx_operations_due", "operations", ["next_attempt_at"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index("idx_operations_deadline", "operations", ["deadline_at"], postgresql_where=sa.text(OPEN))
    op.create_index("idx_operations_finished", "operations", ["finished_at"])
    op.execute(
        f"""
        ALTER TABLE operations ENABLE ROW LEVEL SECURITY;
        ALTER TABLE operations FORCE ROW LEVEL SECURITY;
        CREATE POLICY operations_of_tenant ON operations
            USING (organization_id = ANY ((SELECT current_organization_ids())::uuid[]));
        CREATE POLICY operations_of_system ON operations USING ((SELECT is_system_scope()));
        GRANT SELECT, INSERT, UPDATE, DELETE ON operations TO {role};
        """
    )


def downgrade() -> None:
    op.drop_table("operations")
