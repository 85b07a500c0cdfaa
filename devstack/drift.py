"""Do models and migrations, settings and their page say the same? `python -m devstack.drift`, part of `make check`.

On a database of its own, in the PostgreSQL that TEST_DATABASE_URL names (a superuser's) or in a private one: up from
nothing, compared with the models as Alembic compares them, down again, where nothing may be left, and up once more,
where all must be as it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Connection, Engine, create_engine, make_url, pool, text

from app.cli import flask_migrate
from app.extensions import db
from devstack import settings
from devstack.child import StartError
from devstack.databases import create_database, drop_database
from devstack.offline_application import create_offline_application
from devstack.postgres import PostgreSQL

MIGRATIONS = str(Path(__file__).resolve().parent.parent / "migrations")

# Everything that a migration can leave in the schema, a line for each; Alembic's own table is not ours.
CATALOG = """
    SELECT format('column %s.%s %s not null %s default %s', table_name, column_name, data_type, is_nullable = 'NO',
                  column_default)
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    UNION ALL
    SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    UNION ALL
    SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    UNION ALL
    SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT format('policy %s on %s for %s: %s, %s', policyname, tablename, cmd, qual, with_check) FROM pg_policies
    UNION ALL
    SELECT format('security of %s: %s, forced %s, rights %s, options %s', relname, relrowsecurity, relforcerowsecurity,
                  relacl, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    UNION ALL
    SELECT format('function %s', pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('type %s', typname) FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
"""


def main() -> int:
    """Print what differs; return the exit code, 1 if anything does."""
    try:
        with _server(os.environ) as admin_url, _database(admin_url) as (owner_url, application_url):
            found = settings.drift() + drift(owner_url, application_url)
    except StartError as failed:
        print(failed, file=sys.stderr)
        return 1
    for difference in found:
        print(difference)
    if found:
        print(f"{len(found)} differences.", file=sys.stderr)
        return 1
    print("Models, migrations and the page of settings agree; the migrations go down and up again.")
    return 0


def drift(owner_url: str, application_url: str) -> list[str]:
    """Migrate an empty database up, down and up again; return a line for each thing that is not as it should be."""
    engine = create_engine(make_url(owner_url).set(drivername="postgresql+psycopg2"), poolclass=pool.NullPool)
    app = _application(owner_url, application_url)
    flask_migrate(app)
    with app.app_context():
        upgrade(MIGRATIONS)
        with engine.connect() as connection:
            found = differences_from_models(connection)
        first = _catalog(engine)
        downgrade(MIGRATIONS, revision="base")
        found += [f"left after the way down: {line}" for line in sorted(_catalog(engine))]
        upgrade(MIGRATIONS)
        second = _catalog(engine)
        db.engine.dispose()
    found += [f"missing after down and up: {line}" for line in sorted(first - second)]
    found += [f"new after down and up: {line}" for line in sorted(second - first)]
    return found


def differences_from_models(connection: Connection) -> list[str]:
    """Return a line for each difference that Alembic finds between the database and the models."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return [f"unlike the models: {difference}" for difference in _flatten(compare_metadata(context, db.metadata))]


def _flatten(differences: Any) -> Iterator[Any]:
    """Yield single differences; those of one column come as a list."""
    for difference in differences:
        if isinstance(difference, list):
            yield from _flatten(difference)
        else:
            yield difference


def _catalog(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(text(CATALOG)))


@contextmanager
def _server(environ: Mapping[str, str]) -> Iterator[str]:
    given = environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="rita-drift-") as directory:
        server = PostgreSQL(Path(directory) / "postgres", durable=False)
        try:
            server.start()
            yield server.url
        finally:
            server.remove()


@contextmanager
def _database(admin_url: str) -> Iterator[tuple[str, str]]:
    name = f"rita_drift_{secrets.token_hex(4)}"
    try:
        yield create_database(admin_url, name=name)
    finally:
        drop_database(admin_url, name=name)


def _application(owner_url: str, application_url: str) -> Flask:
    """Make the application, which Alembic's environment asks for its settings; nothing else of it is used."""
    app = create_offline_application(database_url=application_url, migration_database_url=owner_url)
    # Which steps it takes is no news here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return app


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m devstack.drift", description=__doc__).parse_args()
    sys.exit(main())
