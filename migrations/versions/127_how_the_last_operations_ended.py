"""How the last verification and the last sync of a connection ended, and how many documents that sync found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "127"
down_revision = "126"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without defaults they rewrite nothing; the previous release does not know them and leaves them as they are.
    op.add_column("data_source_connections", sa.Column("last_verification_ending", sa.Text))
    op.add_column("data_source_connections", sa.Column("last_sync_ending", sa.Text))
    op.add_column("data_source_connections", sa.Column("last_sync_documents", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("data_source_connections", "last_sync_documents")
    op.drop_column("data_source_connections", "last_sync_ending")
    op.drop_column("data_source_connections", "last_verification_ending")
