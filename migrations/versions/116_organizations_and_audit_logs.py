"""Organizations, the audit trail, and the function that keeps `updated_at`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "116"
down_revision = None
branch_labels = None
depends_on = None

# Empty or unset means nobody: a forgotten scope shows no row, never all.
SCOPES = """
CREATE FUNCTION current_organization_ids() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT NULLIF(current_setting('app.organization_ids', true), '')::uuid[] $$;

CREATE FUNCTION is_system_scope() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT COALESCE(current_setting('app.system', true), '') = 'on' $$;

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.updated_at = NOW(); RETURN NEW; END $$;
"""


def upgrade() -> None:
    role = op.get_bind().dialect.identifier_preparer.quote(context.get_context().opts["application_role"])
    op.execute(SCOPES)
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "audit_logs",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Uuid, sa.ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
        sa.Column("connection_id", sa.Uuid),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("changes", postgresql.JSONB, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("idx_audit_logs_connection", "audit_logs", ["organization_id", "connection_id", "id"])
    op.create_index("idx_audit_logs_created_at", "audit_logs", ["created_at"])
    op.execute(
        f"""
        CREATE TRIGGER update_organizations_updated_at BEFORE UPDATE ON organizations
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

        ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
        ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
        CREATE POLICY organizations_of_tenant ON organizations
            USING (id = ANY ((SELECT current_organization_ids())::uuid[]));
        CREATE POLICY organizations_of_system ON organizations USING ((SELECT is_system_scope()));
        GRANT SELECT, INSERT ON organizations TO {role};

        ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;
        ALTER TABLE audit_logs FORCE ROW LEVEL SECURITY;
        -- A tenant's trail can be read and added to; only the system's retention removes from it.
        CREATE POLICY audit_logs_read_by_tenant ON audit_logs FOR SELECT
            USING (organization_id = ANY ((SELECT current_organization_ids())::uuid[]));
        CREATE POLICY audit_logs_added_by_tenant ON audit_logs FOR INSERT
            WITH CHECK (organization_id = ANY ((SELECT current_organization_ids())::uuid[]));
        CREATE POLICY audit_logs_of_system ON audit_logs USING ((SELECT is_system_scope()));
        GRANT SELECT, INSERT, DELETE ON audit_logs TO {role};
        """
    )


def downgrade() -> None:
    op.drop_table("audit_logs")
    op.drop_table("organizations")
    op.execute(
        "DROP FUNCTION update_updated_at_column(); DROP FUNCTION is_system_scope();"
        " DROP FUNCTION current_organization_ids();"
    )
