"""A database with the two roles that row-level security needs: one that owns it, and one that is held to policies."""

from __future__ import annotations

import secrets
from contextlib import closing

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection
from sqlalchemy import URL, make_url

_ROLE_STATEMENT = sql.SQL(
    "{verb} ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {password}"
)


def create_database(
    admin_url: str, *, name: str, owner_password: str | None = None, application_password: str | None = None
) -> tuple[str, str]:
    """Create the database and its roles `<name>_owner` and `<name>_app` where missing; return their two addresses.

    The superuser's address may name any server of PostgreSQL 13 or later. Both roles get the given passwords, or new
    ones each time.
    """
    owner = _role_url(admin_url, database=name, role=f"{name}_owner", password=owner_password)
    application = _role_url(admin_url, database=name, role=f"{name}_app", password=application_password)
    given = {"database": name, "owner": f"{name}_owner", "application": f"{name}_app"}
    names = {what: sql.Identifier(text) for what, text in given.items()}
    with closing(_connect(make_url(admin_url))) as admin, admin.cursor() as cursor:
        for url in (owner, application):
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [url.username])
            # A role that is there already may be anything by now; it is made what it should be.
            verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
            role, password = sql.Identifier(url.username or ""), sql.Literal(url.password)
            cursor.execute(_ROLE_STATEMENT.format(verb=verb, role=role, password=password))
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if not cursor.rowcount:
            # template0, because nobody can be connected to it, which would forbid the copy.
            creation = sql.SQL("CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'")
            cursor.execute(creation.format(**names))
        for statement in (
            "ALTER DATABASE {database} OWNER TO {owner}",
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO {application}",
        ):
            cursor.execute(sql.SQL(statement).format(**names))
    with closing(_connect(make_url(admin_url).set(database=name))) as admin, admin.cursor() as cursor:
        for statement in (
            # The default before PostgreSQL 15.
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
            "GRANT USAGE ON SCHEMA public TO {application}",
        ):
            cursor.execute(sql.SQL(statement).format(**names))
    return owner.render_as_string(hide_password=False), application.render_as_string(hide_password=False)


def drop_database(admin_url: str, *, name: str) -> None:
    """Drop the database and its two roles where they exist; whoever is connected is cut off."""
    with closing(_connect(make_url(admin_url))) as admin, admin.cursor() as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in (f"{name}_app", f"{name}_owner"):
            cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def _role_url(admin_url: str, *, database: str, role: str, password: str | None) -> URL:
    password = password or secrets.token_urlsafe(24)
    return make_url(admin_url).set(drivername="postgresql", database=database, username=role, password=password)


def _connect(url: URL) -> connection:
    opened = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    # Databases are created and dropped outside transactions only.
    opened.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return opened
