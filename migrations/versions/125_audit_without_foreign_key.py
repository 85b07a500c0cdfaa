"""The trail goes with its organization by a trigger: `docs/decisions/0023-no-foreign-key-from-the-audit-trail.md`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "125"
down_revision = "124"
branch_labels = None
depends_on = None

# Fires after the foreign keys' own triggers, whose names come first: by then whoever was at a connection of the
# organization, and may have written of it, is done. Only the system's scope removes from a trail.
WITH_ITS_ORGANIZATION = """
CREATE FUNCTION delete_audit_logs_of_organization() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE
    scope text := COALESCE(current_setting('app.system', true), '');
BEGIN
    PERFORM set_config('app.system', 'on', true);
    DELETE FROM {schema}.audit_logs WHERE organization_id = OLD.id;
    PERFORM set_config('app.system', scope, true);
    RETURN NULL;
END $$;

CREATE TRIGGER delete_audit_logs AFTER DELETE ON organizations
    FOR EACH ROW EXECUTE FUNCTION delete_audit_logs_of_organization();
"""


def upgrade() -> None:
    op.drop_constraint("audit_logs_organization_id_fkey", "audit_logs")
    schema = op.get_bind().scalar(text("SELECT quote_ident(current_schema())"))
    op.execute(WITH_ITS_ORGANIZATION.format(schema=schema))


def downgrade() -> None:
    op.execute("DROP TRIGGER delete_audit_logs ON organizations; DROP FUNCTION delete_audit_logs_of_organization();")
    op.create_foreign_key(None, "audit_logs", "organizations", ["organization_id"], ["id"], ondelete="CASCADE")
