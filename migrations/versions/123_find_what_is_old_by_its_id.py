"""Two indexes fewer to write for each message: see `docs/decisions/0021-purge-by-id.md`."""

from __future__ import annotations

from alembic import op

revision = "123"
down_revision = "122"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("idx_operations_finished", table_name="operations")
    op.drop_index("idx_audit_logs_created_at", table_name="audit_logs")


def downgrade() -> None:
    op.create_index("idx_audit_logs_created_at", "audit_logs", ["created_at"])
    op.create_index("idx_operations_finished", "operations", ["finished_at"])
