"""A key of the caller's making, by which a repeated press is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "120"
down_revision = "119"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default it rewrites nothing, and no row has one yet that the index would have to read.
    op.add_column("operations", sa.Column("idempotency_key", sa.Text))
    op.create_index(
        "uq_operations_idempotency_key",
        "operations",
        ["connection_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_operations_idempotency_key", table_name="operations")
    op.drop_column("operations", "idempotency_key")
