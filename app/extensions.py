"""The Flask extensions and per-process clients, made once and bound to an application in `create_app`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
import psycopg2.extensions
import pydantic_core
import structlog
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from sqlalchemy import DateTime, Text, event, text
from sqlalchemy.engine import Connection as Session
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.orm import DeclarativeBase, registry
from sqlalchemy.pool import ConnectionPoolEntry

from app import cached_plans, metrics
from app.config import Settings
from app.redis_pool import create_redis_pool

log = structlog.get_logger()

# What a process may open beyond DATABASE_POOL_SIZE for a moment.
MAX_OVERFLOW = 2
# A lock or a query that takes longer than this is a fault, not a wait: the caller is a person or a queue.
# What is prepared is planned once, not five times first. A page at random costs hardly more than the next one:
# PostgreSQL's own 4 is of disks that turn, and made it read a whole table for two hundred of its rows.
# What a database or a role may have set otherwise, and what is written or read would be another thing: how moments and
# bytes are written, whether what is not visible is left out or an error, and whether a backslash escapes in a text.
SESSION_OPTIONS = (
    "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
    " -c plan_cache_mode=force_generic_plan -c random_page_cost=1.1"
    " -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex"
    " -c row_security=on -c standard_conforming_strings=on"
)


def _postgres_type_reader(oid: int, name: str, parse_text: Callable[[Any], Any]) -> Any:
    """Return how psycopg2 is to read a type of PostgreSQL: NULL is None, and `parse_text` gets any other text."""
    return psycopg2.extensions.new_type((oid,), name, lambda text, _: text and parse_text(text))


# In place of what SQLAlchemy registers, which parses each id anew: a row names its connection and its organization
# twice, and the same person for each step. And of psycopg2's own for moments, which takes twice as long; a row has ten.
_POSTGRES_TYPE_READERS = (
    _postgres_type_reader(2950, "UUID", lru_cache(maxsize=1_000)(UUID)),
    _postgres_type_reader(1184, "TIMESTAMPTZ", datetime.fromisoformat),
)

# A connection that has answered this recently, in seconds, is taken to be alive: to try each one first costs a tenth of
# a read. Whoever finds it dead all the same is answered 503, and the pool connects anew.
SKIP_PING_WITHIN_SECONDS = 1.0

# `Session` is SQLAlchemy's connection, a word for data sources here; PostgreSQL too calls it a session. The ORM's keeps
# track of objects, and there are none: rows are written by statements.
__all__ = ["Model", "Session", "db", "engine", "redis", "settings"]


class ModelBase(DeclarativeBase):
    """The declarative base of every model, and what columns are unless they say otherwise."""

    registry = registry(type_annotation_map={str: Text, datetime: DateTime(timezone=True)})


db = SQLAlchemy(model_class=ModelBase, disable_autonaming=True)

if TYPE_CHECKING:
    # What `db.Model` is to a type checker, which cannot follow how it is made.
    from sqlalchemy.orm import DeclarativeBase as Model
else:
    Model = db.Model


class UnsafeDatabaseRole(SystemExit):
    """The role of DATABASE_URL would see every organization's rows."""


def init_app(app: Flask, *, settings: Settings) -> None:
    """Bind database and Redis to the application."""
    app.config["SQLALCHEMY_DATABASE_URI"] = make_url(settings.database_url).set(drivername="postgresql+psycopg2")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_size": settings.database_pool_size,
        # The one used last has its plans still, and its caches warm: in turn, each would be cold by its next use.
        "pool_use_lifo": True,
        "max_overflow": MAX_OVERFLOW,
        "pool_timeout": 5,
        "pool_recycle": 1800,
        # What a statement was given is a configuration or a person's address, and errors are logged.
        "hide_parameters": True,
        # A batch writes hundreds of records, and this takes half of pydantic's time.
        "json_serializer": lambda value: msgspec.json.encode(value).decode(),
        "json_deserializer": pydantic_core.from_json,
        # Said with each transaction: what waits for a lock must see what it waited for, whatever the role's default.
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "connect_timeout": 5,
            "options": SESSION_OPTIONS,
            "application_name": "rita-data-sources",
            "client_encoding": "UTF8",
        },
    }
    db.init_app(app)
    app.extensions["settings"] = settings
    if settings.redis_url:
        app.extensions["redis"] = Redis(connection_pool=create_redis_pool(settings.redis_url))
    with app.app_context():
        event.listen(db.engine, "connect", _check_new_connection)
        event.listen(db.engine, "checkin", _record_time_of_use)
        event.listen(db.engine, "checkout", _ping_if_idle)
        _track_pool_metrics(db.engine, size=settings.database_pool_size + MAX_OVERFLOW)


def _track_pool_metrics(engine_to_watch: Engine, *, size: int) -> None:
    """Keep the metrics of the connections that this process has at work."""

    def connected(*_: Any) -> None:
        metrics.process_metrics().pool_size.set(size)

    def taken(_connection: Any, record: Any, _proxy: Any) -> None:
        record.record_info["taken"] = True
        metrics.process_metrics().pool_in_use.inc()

    def returned(_connection: Any, record: Any) -> None:
        # Told, too, of what could not be opened and so was never taken.
        if record.record_info.pop("taken", False):
            metrics.process_metrics().pool_in_use.dec()

    event.listen(engine_to_watch, "connect", connected)
    event.listen(engine_to_watch, "checkout", taken)
    event.listen(engine_to_watch, "checkin", returned)


def settings_of(app: Flask) -> Settings:
    """Return an application's settings."""
    return cast(Settings, app.extensions["settings"])


def redis_of(app: Flask) -> Redis:
    """Return an application's Redis client: one pool, shared by the process's threads."""
    return cast(Redis, app.extensions["redis"])


def settings() -> Settings:
    """Return the settings of the current application."""
    return settings_of(current_app)


def redis() -> Redis:
    """Return the Redis client of the current application."""
    return redis_of(current_app)


def engine() -> Engine:
    """Return this process's database engine."""
    return db.engine


def _check_new_connection(connection: Any, record: ConnectionPoolEntry) -> None:
    """Refuse a connection that row-level security would not bind, so that no process can ever work through one.

    And let it prepare statements if it leads to PostgreSQL itself: a pooler in between (PgBouncer) gives each
    transaction another server, and tells a process id of its own making.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CURRENT_ROLE_QUERY)
        role, bypasses, process_id = cursor.fetchone()
    connection.rollback()
    for reader in _POSTGRES_TYPE_READERS:
        psycopg2.extensions.register_type(reader, connection)
    if bypasses:
        raise UnsafeDatabaseRole(
            f"DATABASE_URL: the role {role!r} is a superuser or has BYPASSRLS, so organizations would not be kept "
            "apart. Name an ordinary role there, and the owner of the tables in MIGRATION_DATABASE_URL."
        )
    if process_id == connection.get_backend_pid():
        cached_plans.enable_cached_plans(record.info)


def _record_time_of_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_idle(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Try a connection that nobody has used for a while; one that is dead makes the pool connect anew."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < SKIP_PING_WITHIN_SECONDS:
        return
    dialect = db.engine.dialect
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as problem:
        raise InvalidatePoolError from problem


def check_database_role() -> None:
    """Raise UnsafeDatabaseRole, which ends the process, before it starts to work through an unsafe role.

    A database that is away is no reason to stay away too: every connection is checked again when it is made.
    """
    try:
        with db.engine.connect() as connection:
            owns = connection.scalar(_OWNS_TABLES_QUERY)
    except OperationalError as problem:
        log.warning("database_role_not_checked", error=type(problem.orig).__name__)
        return
    finally:
        # Nothing of this may be inherited by a process that is forked later.
        db.engine.dispose()
    if owns and settings().environment == "production":
        raise UnsafeDatabaseRole(
            "DATABASE_URL: the role owns the tables. Migrate with an owner's MIGRATION_DATABASE_URL and run with an "
            "ordinary role, or set ENVIRONMENT=development."
        )


_CURRENT_ROLE_QUERY = (
    "SELECT current_user, rolsuper OR rolbypassrls, pg_backend_pid() FROM pg_roles WHERE rolname = current_user"
)
_OWNS_TABLES_QUERY = text(
    "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema()"
    " AND tablename = 'data_source_connections' AND tableowner = current_user)"
)
