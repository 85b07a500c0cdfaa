from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from psycopg2.errors import UndefinedTable
from psycopg2.extras import RealDictCursor
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.cli import flask_migrate
from devstack import drift
from devstack.databases import create_database, drop_database

# CONTRACT, section 1: type, not null, default.
COLUMNS = {
    "id": ("uuid", True, "gen_random_uuid()"),
    "organization_id": ("uuid", True, None),
    "type": ("text", True, None),
    "name": ("text", True, None),
    "description": ("text", False, None),
    "config": ("jsonb", True, "'{}'::jsonb"),
    "status": ("text", True, "'idle'::text"),
    "last_sync_status": ("text", False, None),
    "latest_options": ("jsonb", False, None),
    "enabled": ("boolean", True, "false"),
    "last_verification_at": ("timestamp with time zone", False, None),
    "last_verification_error": ("text", False, None),
    "last_sync_at": ("timestamp with time zone", False, None),
    "last_sync_error": ("text", False, None),
    "created_by": ("uuid", True, None),
    "updated_by": ("uuid", True, None),
    "created_at": ("timestamp with time zone", True, "now()"),
    "updated_at": ("timestamp with time zone", True, "now()"),
    "deleted_at": ("timestamp with time zone", False, None),
}
INDEXES = {
    "idx_data_source_connections_org_id": "btree (organization_id)",
    "idx_data_source_connections_type": "btree (type)",
    "idx_data_source_connections_status": "brin (status)",
    "idx_data_source_connections_enabled": "btree (enabled) WHERE enabled",
    "idx_data_source_connections_org_type": "btree (organization_id, type)",
}
TABLES = ("organizations", "audit_logs", "data_source_connections", "operations")
# Which tables there are after each step.
STEPS = {
    "116": TABLES[:2],
    "117": TABLES[:3],
    "118": TABLES[:3],
    "119": TABLES,
    "120": TABLES,
    "121": TABLES,
    "122": TABLES,
    "123": TABLES,
    "124": TABLES,
    "125": TABLES,
    "126": TABLES,
    "127": TABLES,
}


class Database:
    """What its owner finds in it."""

    def __init__(self, app: Flask) -> None:
        settings = app.extensions["settings"]
        self.app, self.owner_url, self.application_url = app, settings.owner_database_url, settings.database_url

    def run(self, query: str, *values: Any) -> list[dict[str, Any]]:
        opened = psycopg2.connect(self.owner_url, cursor_factory=RealDictCursor)
        with closing(opened), opened, opened.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', true)")
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    @contextmanager
    def as_owner(self) -> Iterator[Connection]:
        """Open a transaction that comes to nothing."""
        engine = create_engine(make_url(self.owner_url).set(drivername="postgresql+psycopg2"), poolclass=NullPool)
        with self.app.app_context(), engine.connect() as connection:
            yield connection
            connection.rollback()

    def up(self, revision: str = "head") -> None:
        flask_migrate(self.app)
        with self.app.app_context():
            upgrade(revision=revision)

    def down(self, revision: str) -> None:
        flask_migrate(self.app)
        with self.app.app_context():
            downgrade(revision=revision)

    @property
    def tables(self) -> set[str]:
        found = self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in found} - {"alembic_version"}

    @property
    def revision(self) -> str | None:
        found = self.run("SELECT version_num FROM alembic_version")
        return found[0]["version_num"] if found else None


@pytest.fixture
def migrated(web: Flask) -> Database:
    return Database(web)


@pytest.fixture
def empty(another_app: Callable[..., Flask], admin_database_url: str) -> Iterator[Database]:
    """A database that no migration has seen."""
    name = f"rita_test_{uuid4().hex[:8]}"
    owner_url, application_url = create_database(admin_database_url, name=name)
    yield Database(another_app(database_url=application_url, migration_database_url=owner_url))
    drop_database(admin_database_url, name=name)


def a_connection(database: Database) -> dict[str, Any]:
    organization_id = str(uuid4())
    database.run("INSERT INTO organizations (id) VALUES (%s)", organization_id)
    (row,) = database.run(
        "INSERT INTO data_source_connections (organization_id, type, name, created_by, updated_by)"
        " VALUES (%s, 'whatever', 'x', %s, %s) RETURNING *",
        *[organization_id, str(uuid4()), str(uuid4())],
    )
    return row


def test_each_step_goes_up_and_down(empty: Database) -> None:
    for revision, tables in STEPS.items():
        empty.up(revision)
        assert (empty.revision, empty.tables) == (revision, set(tables))
    for revision in reversed(STEPS):
        assert (empty.revision, empty.tables) == (revision, set(STEPS[revision]))
        empty.down("-1")
    assert (empty.revision, empty.tables) == (None, set())


def test_up_from_nothing_down_to_nothing_and_up_again_is_the_same(empty: Database) -> None:
    assert drift.drift(empty.owner_url, empty.application_url) == []
    assert (empty.revision, empty.tables) == ("127", set(TABLES))


def test_a_second_way_up_changes_nothing(empty: Database) -> None:
    empty.up()
    row = a_connection(empty)

    empty.up()

    assert empty.run("SELECT * FROM data_source_connections") == [row]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE data_source_connections ADD COLUMN extra TEXT",
        "ALTER TABLE data_source_connections DROP COLUMN description",
        "ALTER TABLE data_source_connections ALTER COLUMN name TYPE VARCHAR(10)",
        "ALTER TABLE data_source_connections ALTER COLUMN status SET DEFAULT 'syncing'",
        "ALTER TABLE data_source_connections ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE data_source_connections DROP CONSTRAINT unique_type_per_org",
        "DROP INDEX idx_data_source_connections_status",
        "CREATE TABLE integrations (id UUID PRIMARY KEY)",
    ],
)
def test_a_difference_from_the_models_is_noticed(migrated: Database, change: str) -> None:
    with migrated.as_owner() as connection:
        connection.execute(text(change))

        assert drift.differences_from_models(connection)


def test_the_models_are_what_the_migrations_made(migrated: Database) -> None:
    with migrated.as_owner() as connection:
        assert drift.differences_from_models(connection) == []


def test_the_legacy_table_is_dropped_with_its_rows(empty: Database) -> None:
    empty.up("117")
    empty.run("CREATE TABLE integrations (id UUID PRIMARY KEY, organization_id UUID, credentials JSONB)")
    empty.run("INSERT INTO integrations VALUES (gen_random_uuid(), gen_random_uuid(), '{}')")

    empty.up("118")

    with pytest.raises(UndefinedTable):
        empty.run("SELECT * FROM integrations")
    empty.down("117")
    assert empty.tables == set(STEPS["117"])


def test_connections_outlive_the_later_steps(empty: Database) -> None:
    empty.up("117")
    row = a_connection(empty)

    empty.up()
    empty.down("117")

    assert empty.run("SELECT * FROM data_source_connections") == [row]


def test_the_columns_are_the_contracts(migrated: Database) -> None:
    found = migrated.run(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, pg_get_expr(adbin, adrelid) AS fallback"
        " FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)"
        " WHERE attrelid = 'data_source_connections'::regclass AND attnum > 0 AND NOT attisdropped"
    )

    columns = {row["attname"]: (row["type"], row["attnotnull"], row["fallback"]) for row in found}
    assert {name: columns[name] for name in COLUMNS} == COLUMNS
    # Ours beyond the contract may never be in the way of a row that follows the contract alone.
    assert all(not required or fallback for name, (_, required, fallback) in columns.items() if name not in COLUMNS)


def test_the_constraints_are_the_contracts(migrated: Database) -> None:
    found = migrated.run(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE conrelid = 'data_source_connections'::regclass AND contype <> 'n'"
    )

    constraints = {row["conname"]: row["definition"] for row in found}
    assert constraints.pop("unique_type_per_org") == "UNIQUE (organization_id, type)"
    assert constraints.pop("unique_id_per_org") == "UNIQUE (organization_id, id)"
    assert sorted(constraints.values()) == [
        "FOREIGN KEY (organization_id) REFERENCES organizations(id) ON DELETE CASCADE",
        "PRIMARY KEY (id)",
    ]


def test_the_indexes_are_the_contracts(migrated: Database) -> None:
    found = migrated.run("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'data_source_connections'")

    indexes = {row["indexname"]: re.sub(r"^.* USING ", "", row["indexdef"]) for row in found}
    assert {name: indexes[name] for name in INDEXES} == INDEXES


def test_a_change_of_status_writes_no_index(migrated: Database) -> None:
    a_connection(migrated)

    with migrated.as_owner() as connection:
        connection.execute(text("SELECT set_config('app.system', 'on', true)"))
        changed = connection.execute(text("UPDATE data_source_connections SET status = 'syncing'")).rowcount
        without_index = connection.scalar(
            text("SELECT pg_stat_get_xact_tuples_hot_updated('data_source_connections'::regclass)")
        )
        version = connection.scalar(text("SELECT current_setting('server_version_num')::int"))

    assert changed
    # Before 16 PostgreSQL takes an index by ranges of pages for one that must be written.
    assert without_index == (changed if version >= 160_000 else 0)


def test_one_operation_of_a_kind_can_be_open(migrated: Database) -> None:
    (index,) = migrated.run("SELECT indexdef FROM pg_indexes WHERE indexname = 'uq_operations_open'")

    assert "UNIQUE" in index["indexdef"]
    assert "(connection_id, kind) WHERE" in index["indexdef"]


def test_the_trigger_is_the_contracts(migrated: Database) -> None:
    (trigger,) = migrated.run(
        "SELECT tgname, pg_get_triggerdef(oid) AS definition FROM pg_trigger"
        " WHERE tgrelid = 'data_source_connections'::regclass AND NOT tgisinternal"
    )

    assert trigger["tgname"] == "update_data_source_connections_updated_at"
    assert "BEFORE UPDATE ON public.data_source_connections FOR EACH ROW" in trigger["definition"]
    assert trigger["definition"].endswith("EXECUTE FUNCTION update_updated_at_column()")


def test_the_trigger_moves_updated_at_whatever_the_statement_says(migrated: Database) -> None:
    row = a_connection(migrated)

    (after,) = migrated.run(
        "UPDATE data_source_connections SET name = 'y', updated_at = '2001-01-01' WHERE id = %s RETURNING *", row["id"]
    )

    assert after["updated_at"] > row["updated_at"]
    assert after["created_at"] == row["created_at"]


def test_a_row_of_the_required_fields_alone_gets_the_contracts_defaults(migrated: Database) -> None:
    row = a_connection(migrated)

    assert (row["status"], row["enabled"], row["config"]) == ("idle", False, {})
    assert row["id"]
    assert row["created_at"] == row["updated_at"]


@pytest.mark.parametrize("table", TABLES)
def test_row_level_security_is_on_and_forced(migrated: Database, table: str) -> None:
    (row,) = migrated.run("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", table)

    assert row == {"relrowsecurity": True, "relforcerowsecurity": True}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("organizations", {"SELECT", "INSERT"}),
        ("audit_logs", {"SELECT", "INSERT", "DELETE"}),
        ("data_source_connections", {"SELECT", "INSERT", "UPDATE"}),
        ("operations", {"SELECT", "INSERT", "UPDATE", "DELETE"}),
        ("alembic_version", set()),
    ],
)
def test_the_application_may_do_what_it_needs_and_no_more(migrated: Database, table: str, expected: set[str]) -> None:
    found = migrated.run(
        "SELECT grantee, privilege_type FROM information_schema.role_table_grants"
        " WHERE table_name = %s AND grantee <> (SELECT tableowner FROM pg_tables WHERE tablename = %s)",
        *[table, table],
    )

    assert {row["privilege_type"] for row in found} == expected
    assert {row["grantee"] for row in found} <= {psycopg2.extensions.parse_dsn(migrated.application_url)["user"]}


def test_a_migration_gives_up_soon_where_a_table_is_locked_and_leaves_nothing_behind(empty: Database) -> None:
    empty.up("117")

    with empty.as_owner() as other:
        other.execute(text("LOCK TABLE data_source_connections IN ACCESS SHARE MODE"))
        started = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            empty.down("116")
        waited = time.monotonic() - started

    assert waited < 15
    assert "data_source_connections" in empty.tables
