"""A change of status writes the row and no index: see `docs/decisions/0019-status-changes-write-no-index.md`."""

from __future__ import annotations

from alembic import op

revision = "122"
down_revision = "121"
branch_labels = None
depends_on = None

TABLE, INDEX = "data_source_connections", "idx_data_source_connections_status"


def upgrade() -> None:
    # Read once, without the sorting of a B-tree: nobody waits longer than a second for a million rows.
    op.drop_index(INDEX, table_name=TABLE)
    op.create_index(INDEX, TABLE, ["status"], postgresql_using="brin")
    # Room for a row's next version on its own page; pages that are full already get theirs as rows leave them.
    op.execute(f"ALTER TABLE {TABLE} SET (fillfactor = 80)")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} RESET (fillfactor)")
    op.drop_index(INDEX, table_name=TABLE)
    op.create_index(INDEX, TABLE, ["status"])
