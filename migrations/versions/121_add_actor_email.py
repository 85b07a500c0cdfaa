"""Who made a change, in words that a person knows: the e-mail address of the token, beside the id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "121"
down_revision = "120"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default it rewrites nothing; the previous release does not know it and leaves it null.
    op.add_column("audit_logs", sa.Column("actor_email", sa.Text))


def downgrade() -> None:
    op.drop_column("audit_logs", "actor_email")
