"""Connections as people configure them: seeded, listed, configured, created and deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, select

from app import errors
from app.domain import lifecycle, source_types
from app.domain.actors import Actor
from app.domain.aggregate import Change, Connection, ConnectionAggregate
from app.domain.json_values import JsonObject
from app.domain.source_types import SourceType
from app.extensions import Session
from app.services import aggregate_queries, aggregate_store, organizations
from app.services.tables import CONNECTION_COLUMNS, CONNECTIONS

# How often a connection of a type is looked for while others create and delete it.
MAX_FIND_OR_CREATE_TRIES = 5

# Tells whether a change may be made to a connection of this version; None where the caller does not mind.
VersionCheck = Callable[[str], bool] | None
# What is configured, by name: any of `name`, `description`, `config` and `enabled`.
Fields = Mapping[str, Any]

# What `?status=` may name: the stored values, and what a person would call a connection that is idle.
STATUS_FILTERS: dict[str, ColumnElement[bool]] = {
    "idle": CONNECTIONS.c.status == "idle",
    "verifying": CONNECTIONS.c.status == "verifying",
    "syncing": CONNECTIONS.c.status == "syncing",
    "unconfigured": and_(CONNECTIONS.c.first_enabled_at.is_(None), CONNECTIONS.c.last_verification_at.is_(None)),
    "pending": and_(CONNECTIONS.c.enabled, CONNECTIONS.c.last_sync_at.is_(None), CONNECTIONS.c.status != "syncing"),
    "completed": and_(CONNECTIONS.c.status == "idle", CONNECTIONS.c.last_sync_status == "completed"),
    "failed": and_(CONNECTIONS.c.status == "idle", CONNECTIONS.c.last_sync_status == "failed"),
}


def list_connections(
    session: Session,
    organization_id: UUID,
    *,
    status: str | None = None,
    type_name: str | None = None,
    enabled: bool | None = None,
) -> list[ConnectionAggregate]:
    """Return the organization's connections that pass the filters."""
    where: list[ColumnElement[bool]] = []
    if status is not None:
        where.append(STATUS_FILTERS[status])
    if type_name is not None:
        where.append(CONNECTIONS.c.type == type_name)
    if enabled is not None:
        where.append(CONNECTIONS.c.enabled == enabled)
    # As it is: with a condition, even none, it would be another statement, to be looked up anew.
    query = aggregate_queries.CONNECTIONS_OF_ORGANIZATION_QUERY
    if where:
        query = query.where(*where)
    return aggregate_store.fetch_aggregates(session, query, organization_id=organization_id)


def get_connection(session: Session, connection_id: UUID) -> ConnectionAggregate:
    """Return one connection to look at. Raises NotFound."""
    return aggregate_store.fetch_connection(session, connection_id)


def create_seeded_connections(session: Session, organization_id: UUID, *, actor: Actor, now: datetime) -> list[Change]:
    """Create the seeded connections that are missing; safe in parallel, for the database leaves out what exists."""
    organizations.ensure_organization(session, organization_id)
    types = source_types.SEEDED_TYPES.values()
    missing = [_new_connection(source_type, organization_id, actor=actor, now=now) for source_type in types]
    return aggregate_store.save(session, missing, actor=actor, now=now)


def configure_connection(
    session: Session, connection_id: UUID, *, fields: Fields, check: VersionCheck = None, actor: Actor, now: datetime
) -> tuple[ConnectionAggregate, list[Change]]:
    """Set any of `name`, `description`, `config` and `enabled`. Raises NotFound, ChangedMeanwhile."""
    aggregate = aggregate_store.load_one_for_update(session, connection_id)
    _require_version(aggregate, check)
    _set_fields(aggregate, fields=fields, actor=actor, now=now)
    return aggregate, aggregate_store.save(session, [aggregate], actor=actor, now=now)


def configure_connection_of_type(
    session: Session,
    organization_id: UUID,
    source_type: SourceType,
    *,
    fields: Fields,
    check: VersionCheck = None,
    actor: Actor,
    now: datetime,
) -> tuple[ConnectionAggregate, list[Change]]:
    """Configure the organization's connection of a type, which is created (or restored) if there is none.

    Raises ChangedMeanwhile, ServiceUnavailable.
    """
    aggregate, created = _find_or_create_of_type(session, organization_id, source_type, actor=actor, now=now)
    _require_version(aggregate, check)
    _set_fields(aggregate, fields=fields, actor=actor, now=now)
    return aggregate, created + aggregate_store.save(session, [aggregate], actor=actor, now=now)


def create_connection(
    session: Session, organization_id: UUID, source_type: SourceType, *, fields: Fields, actor: Actor, now: datetime
) -> tuple[ConnectionAggregate, list[Change]]:
    """Create a connection of a type, or restore the deleted one under its old id. Raises AlreadyExists."""
    organizations.ensure_organization(session, organization_id)
    aggregate = _find_deleted_connection(session, organization_id, source_type.name)
    if aggregate is None:
        aggregate = _new_connection(source_type, organization_id, actor=actor, now=now)
    else:
        aggregate.connection.deleted_at = None
        aggregate.connection.updated_by = actor.id or aggregate.connection.updated_by
        aggregate.record_change("connection.restored")
    if fields:
        _set_fields(aggregate, fields=fields, actor=actor, now=now)
    changes = aggregate_store.save(session, [aggregate], actor=actor, now=now)
    if not changes:
        raise errors.AlreadyExists(f"Your organization has a connection of type '{source_type.name}' already")
    return aggregate, changes


def delete_connection(
    session: Session, connection_id: UUID, *, actor: Actor, now: datetime
) -> tuple[ConnectionAggregate, list[UUID], list[Change]]:
    """Soft-delete a connection of a type that is not seeded, and end what still runs, whose ids are returned too.

    Raises NotFound, CannotDelete.
    """
    aggregate = aggregate_store.load_one_for_update(session, connection_id)
    if not source_types.is_deletable_type(aggregate.connection.type):
        raise errors.CannotDelete("This data source cannot be deleted; disable it instead (enabled: false)")
    abandoned = lifecycle.replace_open_operations(aggregate, now=now)
    aggregate.connection.deleted_at = now
    aggregate.connection.enabled = False
    aggregate.connection.updated_by = actor.id or aggregate.connection.updated_by
    aggregate.record_change("connection.deleted")
    return aggregate, abandoned, aggregate_store.save(session, [aggregate], actor=actor, now=now)


def _find_or_create_of_type(
    session: Session, organization_id: UUID, source_type: SourceType, *, actor: Actor, now: datetime
) -> tuple[ConnectionAggregate, list[Change]]:
    """Return the connection of a type, locked, made or restored if need be, with the changes of that."""
    for _ in range(MAX_FIND_OR_CREATE_TRIES):
        # Each may come between the look and what follows: another request that makes it, and one that deletes it.
        with suppress(errors.NotFound):
            return aggregate_store.load_one_of_type_for_update(session, organization_id, source_type.name), []
        with suppress(errors.AlreadyExists):
            return create_connection(session, organization_id, source_type, fields={}, actor=actor, now=now)
    raise errors.ServiceUnavailable("Others create and delete this data source right now; try again")


def _require_version(aggregate: ConnectionAggregate, version_check: VersionCheck) -> None:
    if version_check is not None and not version_check(version := aggregate.connection.version):
        message = "Somebody else has changed this data source; read it again and repeat your change"
        raise errors.ChangedMeanwhile(message, version=version)


def _set_fields(aggregate: ConnectionAggregate, *, fields: Fields, actor: Actor, now: datetime) -> None:
    connection = aggregate.connection
    # What is answered and pushed is what the database will hold.
    stored = {name: JsonObject(value) if isinstance(value, dict) else value for name, value in fields.items()}
    if all(getattr(connection, name) == value for name, value in stored.items()):
        return
    for name, value in stored.items():
        setattr(connection, name, value)
    connection.updated_by = actor.id or connection.updated_by
    if connection.enabled:
        connection.first_enabled_at = connection.first_enabled_at or now
    aggregate.record_change("connection.configured")
    if not connection.enabled:
        lifecycle.end_undelivered_sync_of_disabled(aggregate, ended_by=actor.email or "an operator", now=now)


def _new_connection(kind: SourceType, organization_id: UUID, *, actor: Actor, now: datetime) -> ConnectionAggregate:
    if actor.id is None:
        raise ValueError("a connection is created by a user")
    connection = Connection(
        id=uuid4(),
        organization_id=organization_id,
        type=kind.name,
        name=kind.label,
        description=kind.description,
        created_by=actor.id,
        updated_by=actor.id,
        created_at=now,
        updated_at=now,
    )
    aggregate = ConnectionAggregate(connection)
    aggregate.record_change("connection.created")
    return aggregate


def _find_deleted_connection(session: Session, organization_id: UUID, type_name: str) -> ConnectionAggregate | None:
    """Return the deleted connection of a type, which nothing else can see."""
    of_type = (CONNECTIONS.c.organization_id == organization_id, CONNECTIONS.c.type == type_name)
    deleted = select(*CONNECTION_COLUMNS).where(*of_type, CONNECTIONS.c.deleted_at.is_not(None))
    row = session.execute(deleted.with_for_update(key_share=True)).one_or_none()
    if row is None:
        return None
    aggregate = ConnectionAggregate(Connection(*row))
    aggregate.mark_as_stored()
    return aggregate
