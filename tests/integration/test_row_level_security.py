"""What PostgreSQL itself keeps apart, whatever a query forgets: asked with the application's role, below the ORM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from flask import Flask
from psycopg2.errors import ForeignKeyViolation, InsufficientPrivilege
from psycopg2.extras import RealDictCursor
from sqlalchemy import make_url, text

from app.extensions import UnsafeDatabaseRole, check_database_role, db
from devstack.ports import free_port
from tests.factories import Browser, forget_organizations

PATH = "/api/data-sources"
TABLES = ("organizations", "audit_logs", "data_source_connections", "operations")

INSERTS = {
    "organizations": "INSERT INTO organizations (id) VALUES (gen_random_uuid())",
    "audit_logs": "INSERT INTO audit_logs (id, organization_id, actor_type, action, changes, created_at)"
    " VALUES (gen_random_uuid(), %(theirs)s, 'user', 'forged', '{}', now())",
    "data_source_connections": "INSERT INTO data_source_connections"
    " (organization_id, type, name, created_by, updated_by)"
    " VALUES (%(theirs)s, 'slack', 'forged', gen_random_uuid(), gen_random_uuid())",
    "operations": "INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, created_at)"
    " SELECT gen_random_uuid(), %(theirs)s, %(their_connection)s, 'sync', 'user', 'pending', now()",
}


class House:
    """Two organizations that have a row in every table, and a look at them with a role of the database."""

    def __init__(self, app: Flask) -> None:
        self.app, self.url = app, app.extensions["settings"].database_url
        self.ada, self.eve = Browser(app), Browser(app)
        for browser in (self.ada, self.eve):
            browser.put(f"{PATH}/websearch", {})
            assert browser.post(f"{PATH}/{browser.connection('websearch')['id']}/sync").status_code == 200
        self.names = {
            "ours": str(self.ada.organization_id),
            "theirs": str(self.eve.organization_id),
            "our_connection": self.ada.connection("websearch")["id"],
            "their_connection": self.eve.connection("websearch")["id"],
        }

    @contextmanager
    def session(self, *tenants: UUID, system: bool = False, url: str | None = None) -> Iterator[Any]:
        """Open a transaction of the application's role with a scope; it comes to nothing."""
        opened = psycopg2.connect(url or self.url, cursor_factory=RealDictCursor)
        with closing(opened), opened.cursor() as cursor:
            if tenants:
                scope = "{" + ",".join(map(str, tenants)) + "}"
                cursor.execute("SELECT set_config('app.organization_ids', %s, true)", [scope])
            if system:
                cursor.execute("SELECT set_config('app.system', 'on', true)")
            yield cursor

    def organizations_in(self, cursor: Any, table: str) -> set[UUID]:
        column = "id" if table == "organizations" else "organization_id"
        cursor.execute(f"SELECT DISTINCT {column} AS organization FROM {table}")  # noqa: S608
        return {UUID(row["organization"]) for row in cursor.fetchall()}


@pytest.fixture
def house(web: Flask) -> House:
    # Whatever a test of another kind has left.
    forget_organizations(web)
    return House(web)


@pytest.mark.parametrize("table", TABLES)
def test_a_scope_shows_its_own_rows_and_no_scope_none(house: House, table: str) -> None:
    ada, eve = house.ada.organization_id, house.eve.organization_id
    expected = {(): set(), (ada,): {ada}, (eve,): {eve}, (ada, eve): {ada, eve}, (uuid4(),): set()}

    for tenants, visible in expected.items():
        with house.session(*tenants) as cursor:
            assert house.organizations_in(cursor, table) == visible
    with house.session(system=True) as cursor:
        assert house.organizations_in(cursor, table) == {ada, eve}


@pytest.mark.parametrize("value", ["", "{}"])
def test_an_empty_scope_shows_nothing(house: House, value: str) -> None:
    with house.session() as cursor:
        cursor.execute("SELECT set_config('app.organization_ids', %s, true)", [value])

        assert [house.organizations_in(cursor, table) for table in TABLES] == [set()] * 4


@pytest.mark.parametrize("value", ["", "off", "ON", "true", "1"])
def test_only_one_word_opens_the_systems_scope(house: House, value: str) -> None:
    with house.session() as cursor:
        cursor.execute("SELECT set_config('app.system', %s, true)", [value])

        assert [house.organizations_in(cursor, table) for table in TABLES] == [set()] * 4


@pytest.mark.parametrize("table", TABLES)
def test_not_even_the_owner_sees_rows_without_a_scope(house: House, table: str) -> None:
    with house.session(url=house.app.extensions["settings"].owner_database_url) as cursor:
        assert house.organizations_in(cursor, table) == set()


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_inserted_for_another_organization(house: House, table: str) -> None:
    with house.session(house.ada.organization_id) as cursor, pytest.raises(InsufficientPrivilege, match="row-level"):
        cursor.execute(INSERTS[table], house.names)
    with house.session() as cursor, pytest.raises(InsufficientPrivilege, match="row-level"):
        cursor.execute(INSERTS[table], house.names)


@pytest.mark.parametrize("table", ["data_source_connections", "operations"])
def test_no_row_is_handed_to_another_organization(house: House, table: str) -> None:
    with house.session(house.ada.organization_id) as cursor, pytest.raises(InsufficientPrivilege, match="row-level"):
        cursor.execute(f"UPDATE {table} SET organization_id = %(theirs)s", house.names)  # noqa: S608


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE data_source_connections SET name = 'x' WHERE id = %(their_connection)s",
        "UPDATE data_source_connections SET organization_id = %(ours)s WHERE id = %(their_connection)s",
        "UPDATE operations SET state = 'failed' WHERE connection_id = %(their_connection)s",
        "DELETE FROM operations WHERE connection_id = %(their_connection)s",
    ],
)
def test_another_organizations_rows_are_not_there_to_change(house: House, statement: str) -> None:
    with house.session(house.ada.organization_id) as cursor:
        cursor.execute(statement, house.names)

        assert cursor.rowcount == 0


def test_a_tenants_scope_changes_its_own_rows(house: House) -> None:
    with house.session(house.ada.organization_id) as cursor:
        cursor.execute("UPDATE data_source_connections SET name = 'x'")

        assert cursor.rowcount == 1


def test_a_tenant_cannot_remove_from_its_own_trail(house: House) -> None:
    with house.session(house.ada.organization_id) as cursor:
        cursor.execute("DELETE FROM audit_logs")

        assert cursor.rowcount == 0
    with house.session(system=True) as cursor:
        cursor.execute("DELETE FROM audit_logs")
        assert cursor.rowcount > 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET action = 'x'",
        "UPDATE organizations SET name = 'x'",
        "DELETE FROM organizations",
        "DELETE FROM data_source_connections",
        "TRUNCATE operations",
        "ALTER TABLE data_source_connections NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE data_source_connections DISABLE ROW LEVEL SECURITY",
        "DROP POLICY data_source_connections_of_tenant ON data_source_connections",
        "CREATE TABLE public.copies AS SELECT 1",
        "CREATE VIEW public.look AS SELECT 1",
        "SELECT * FROM alembic_version",
        "TRUNCATE data_source_connections CASCADE",
        "DROP TABLE audit_logs",
        "DROP SCHEMA public CASCADE",
        "ALTER TABLE operations OWNER TO CURRENT_USER",
        "ALTER TABLE operations DISABLE TRIGGER ALL",
        "ALTER TABLE operations DROP COLUMN error",
        "CREATE POLICY all_of_it ON operations USING (true)",
        "CREATE OR REPLACE FUNCTION current_organization_ids() RETURNS uuid[] LANGUAGE sql AS 'SELECT NULL::uuid[]'",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "CREATE ROLE another",
        "SET SESSION AUTHORIZATION %(owner)s",
        "SET ROLE %(owner)s",
        "SET session_replication_role = 'replica'",
        "COPY operations TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
@pytest.mark.parametrize("system", [False, True])
def test_the_applications_role_may_not(house: House, statement: str, *, system: bool) -> None:
    owner = make_url(house.app.extensions["settings"].owner_database_url).username

    with house.session(house.ada.organization_id, system=system) as cursor, pytest.raises(InsufficientPrivilege):
        cursor.execute(statement, {"owner": owner})


def test_turning_row_security_off_shows_an_error_and_no_row(house: House) -> None:
    with house.session(house.ada.organization_id) as cursor:
        cursor.execute("SET LOCAL row_security = off")

        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            cursor.execute("SELECT * FROM operations")


# What the catalogue holds of each table, view and the like that a query could name.
CATALOGUE = """
SELECT c.relname AS name, c.relkind AS kind, c.relrowsecurity AND c.relforcerowsecurity AS forced,
       has_table_privilege(%(role)s, c.oid, 'SELECT') AS seen,
       has_table_privilege(%(role)s, c.oid, 'TRUNCATE, REFERENCES, TRIGGER') AS too_much
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


def test_whatever_the_applications_role_may_read_keeps_organizations_apart(house: House) -> None:
    role = make_url(house.url).username
    with house.session() as cursor:
        cursor.execute(CATALOGUE, {"role": role})
        found = cursor.fetchall()
        readable = {row["name"] for row in found if row["seen"]}
        for name in readable:
            cursor.execute(f"SELECT count(*) AS rows FROM {name}")  # noqa: S608 - names from the catalogue
            assert cursor.fetchone()["rows"] == 0, name
        cursor.execute("SELECT tablename, qual, with_check FROM pg_policies WHERE schemaname = 'public'")
        policies = cursor.fetchall()

    # A new table is added here once its own attacks are among those above.
    assert readable == set(TABLES)
    assert [row["name"] for row in found if row["seen"] and not (row["forced"] and row["kind"] == "r")] == []
    assert [row["name"] for row in found if row["too_much"]] == []
    asked = [f"{policy['qual']} {policy['with_check']}" for policy in policies]
    assert [text for text in asked if not ("current_organization_ids" in text or "is_system_scope" in text)] == []


def test_no_function_lends_its_owners_rights(house: House) -> None:
    with house.session() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
            " UNION SELECT datname FROM pg_database WHERE datname = current_database()"
            " AND has_database_privilege(current_user, datname, 'CREATE')"
        )

        assert cursor.fetchall() == []


def test_an_operation_cannot_belong_to_another_organization_than_its_connection(house: House) -> None:
    mixed = house.names | {"theirs": house.names["ours"]}
    insert = INSERTS["operations"].replace("'sync'", "'verify'")

    with house.session(house.ada.organization_id) as cursor, pytest.raises(ForeignKeyViolation):
        cursor.execute(insert, mixed)
    with house.session(system=True) as cursor, pytest.raises(ForeignKeyViolation):
        cursor.execute(insert, mixed)


def test_the_applications_role_is_an_ordinary_one(house: House) -> None:
    with house.session() as cursor:
        cursor.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert set(cursor.fetchone().values()) == {False}
        cursor.execute("SELECT FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user")
        assert cursor.rowcount == 0
        cursor.execute("SELECT pg_has_role(current_user, tableowner, 'MEMBER') AS member FROM pg_tables LIMIT 1")
        assert cursor.fetchone()["member"] is False


@pytest.mark.parametrize("environment", ["production", "development"])
def test_a_superuser_is_refused_at_the_start_and_at_every_connection(
    another_app: Callable[..., Flask], admin_database_url: str, environment: str
) -> None:
    app = another_app(database_url=admin_database_url, environment=environment)

    with app.app_context():
        with pytest.raises(UnsafeDatabaseRole, match="DATABASE_URL"):
            check_database_role()
        with pytest.raises(UnsafeDatabaseRole, match="DATABASE_URL"):
            db.session.execute(text("SELECT 1"))


def test_a_role_that_bypasses_policies_is_refused(another_app: Callable[..., Flask], admin_database_url: str) -> None:
    name = f"rita_test_{uuid4().hex[:8]}"
    with closing(psycopg2.connect(admin_database_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE ROLE {name} LOGIN BYPASSRLS PASSWORD 'of-the-tests'")
        try:
            url = make_url(admin_database_url).set(username=name, password="of-the-tests")
            app = another_app(database_url=url.render_as_string(hide_password=False))
            with app.app_context(), pytest.raises(UnsafeDatabaseRole, match=name):
                db.session.execute(text("SELECT 1"))
        finally:
            cursor.execute(f"DROP ROLE {name}")


def test_the_owner_is_refused_in_production(web: Flask, another_app: Callable[..., Flask]) -> None:
    owner_url = web.extensions["settings"].owner_database_url

    with another_app(database_url=owner_url).app_context(), pytest.raises(UnsafeDatabaseRole, match="owns"):
        check_database_role()
    with another_app(database_url=owner_url, environment="development").app_context():
        check_database_role()


def test_the_applications_role_is_accepted_in_production(web: Flask) -> None:
    assert web.extensions["settings"].environment == "production"

    with web.app_context():
        check_database_role()


def test_a_database_that_is_away_keeps_no_process_from_starting(another_app: Callable[..., Flask]) -> None:
    with another_app(database_url=f"postgresql://rita:x@127.0.0.1:{free_port()}/rita").app_context():
        check_database_role()
