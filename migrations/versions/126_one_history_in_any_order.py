"""What an operation was told, and when: see `docs/decisions/0025-one-history-in-any-order.md`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "126"
down_revision = "125"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without defaults they rewrite nothing; the previous release does not know them and leaves them null.
    op.add_column("operations", sa.Column("reports", sa.Text))
    op.add_column("operations", sa.Column("asked_after", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("operations", "asked_after")
    op.drop_column("operations", "reports")
