"""Databases for tests: one is migrated, and every other is a copy of it (`CREATE DATABASE … TEMPLATE`)."""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg2
from flask_migrate import upgrade
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class
from sqlalchemy import make_url

from app.cli import flask_migrate
from app.extensions import db
from devstack.databases import create_database, drop_database
from devstack.drift import MIGRATIONS
from devstack.offline_application import create_offline_application

_kept = threading.local()


@contextmanager
def transaction(url: str, *, cursor_factory: Any = None) -> Iterator[Any]:
    """Open a transaction, committed at the end, on the one connection to the address that this thread keeps.

    A connection of its own for each look would cost ten times as much as the look. It is for one statement after the
    other: who holds a transaction open while others look opens a connection of its own.
    """
    connections = vars(_kept)
    connection = connections.get(url)
    if connection is None or connection.closed or _has_ended(connection):
        connection = connections[url] = psycopg2.connect(url)
    with connection, connection.cursor(cursor_factory=cursor_factory) as cursor:
        yield cursor


def _has_ended(connection: Connection) -> bool:
    """Tell whether an idle connection has something to say: that it has ended."""
    # Not `select`, which knows the first 1,024 files of a process only.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(frozen=True)
class Template:
    """A migrated database that nobody connects to, for that would forbid to copy it; copies share its two roles."""

    admin_url: str
    owner_url: str
    application_url: str

    @contextmanager
    def copied(self, purpose: str) -> Iterator[tuple[str, str]]:
        """Make a copy for a purpose, as (owner's URL, application's URL), and drop it at the end."""
        name = f"rita_{purpose}_{uuid4().hex[:8]}"
        template, owner = make_url(self.owner_url).database or "", make_url(self.owner_url).username or ""
        application = make_url(self.application_url).username or ""
        names = {
            "name": sql.Identifier(name),
            "template": sql.Identifier(template),
            "owner": sql.Identifier(owner),
            "application": sql.Identifier(application),
        }
        self._run("CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}", names)
        try:
            # What is granted on a database itself is not copied with it.
            self._run("REVOKE ALL ON DATABASE {name} FROM PUBLIC", names)
            self._run("GRANT CONNECT ON DATABASE {name} TO {application}", names)
            yield self._of(name, self.owner_url), self._of(name, self.application_url)
        finally:
            self._run("DROP DATABASE IF EXISTS {name} WITH (FORCE)", names)

    def _run(self, statement: str, names: dict[str, sql.Identifier]) -> None:
        with closing(psycopg2.connect(self.admin_url)) as connection:
            # Databases are created and dropped outside transactions only.
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(**names))

    @staticmethod
    def _of(name: str, url: str) -> str:
        return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def migrated_template(admin_url: str) -> Iterator[Template]:
    """Make the template, migrated to head, and drop it with its roles at the end."""
    name = f"rita_template_{uuid4().hex[:8]}"
    owner_url, application_url = create_database(admin_url, name=name)
    try:
        app = create_offline_application(database_url=application_url, migration_database_url=owner_url)
        flask_migrate(app)
        with app.app_context():
            logging.getLogger("alembic").setLevel(logging.WARNING)
            upgrade(MIGRATIONS)
            db.engine.dispose()
        yield Template(admin_url, owner_url, application_url)
    finally:
        drop_database(admin_url, name=name)
