"""The legacy table `integrations` is unused; its rows are not carried over."""

from __future__ import annotations

from alembic import op

revision = "118"
down_revision = "117"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP TABLE IF EXISTS integrations")


def downgrade() -> None:
    """Nothing to bring back: this backend never knew the table's columns."""
