"""How Alembic runs here: as the owner of the tables, one transaction, and never waiting long for a lock."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import create_engine, make_url, pool

from app.cli.output import errors_as_one_sentence
from app.config import Settings
from app.extensions import db

settings: Settings = current_app.extensions["settings"]


def run_migrations() -> None:
    """Migrate the database of MIGRATION_DATABASE_URL; the tables' grants go to the role of DATABASE_URL."""
    owner = make_url(settings.owner_database_url).set(drivername="postgresql+psycopg2")
    # A migration that waits for a lock makes every query behind it wait too: give up soon, try again later.
    limits = "-c lock_timeout=5s -c statement_timeout=10min"
    engine = create_engine(owner, poolclass=pool.NullPool, connect_args={"options": limits})
    application = make_url(settings.database_url).username or owner.username
    with errors_as_one_sentence(setting_name="MIGRATION_DATABASE_URL"):
        opened = engine.connect()
    with opened as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            compare_type=True,
            compare_server_default=True,
            application_role=application,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run_migrations()
