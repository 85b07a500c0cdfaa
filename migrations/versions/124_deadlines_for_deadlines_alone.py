"""The index of deadlines is for deadlines alone: see `docs/decisions/0022-index-of-deadlines.md`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "124"
down_revision = "123"
branch_labels = None
depends_on = None

INDEX = "idx_operations_deadline"
OPEN = "state IN ('pending', 'delivered', 'running')"


def upgrade() -> None:
    _index(f"deadline_at IS NOT NULL AND {OPEN}")


def downgrade() -> None:
    _index(OPEN)


def _index(where: str) -> None:
    op.drop_index(INDEX, table_name="operations")
    op.create_index(INDEX, "operations", ["deadline_at"], postgresql_where=text(where))
