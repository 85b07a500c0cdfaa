"""Connections as people configure them: seeded, listed, configured, created and deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, select

from app import errors
from app.domain import lifecycle, sources
from app.domain.actors import Actor
from app.domain.cases import Case, Change, Connection
from app.domain.json_values import JsonObject
from app.extensions import Session
from app.services import ledger, organizations

COLUMNS = ledger.CONNECTIONS.c

# How often a connection of a type is looked for while others create and delete it.
LOOKS = 5

# Tells whether a change may be made to a connection of this version; None where the caller does not mind.
Expected = Callable[[str], bool] | None

# What `?status=` may name: the stored values, and what a person would call a connection that is idle.
STATUS_FILTERS: dict[str, ColumnElement[bool]] = {
    "idle": COLUMNS.status == "idle",
    "verifying": COLUMNS.status == "verifying",
    "syncing": COLUMNS.status == "syncing",
    "unconfigured": and_(COLUMNS.first_enabled_at.is_(None), COLUMNS.last_verification_at.is_(None)),
    "pending": and_(COLUMNS.enabled, COLUMNS.last_sync_at.is_(None), COLUMNS.status != "syncing"),
    "completed": and_(COLUMNS.status == "idle", COLUMNS.last_sync_status == "completed"),
    "failed": and_(COLUMNS.status == "idle", COLUMNS.last_sync_status == "failed"),
}


def find_all(
    session: Session,
    organization_id: UUID,
    *,
    status: str | None = None,
    type_name: str | None = None,
    enabled: bool | None = None,
) -> list[Case]:
    """Return the organization's connections that pass the filters."""
    where: list[ColumnElement[bool]] = []
    if status is not None:
        where.append(STATUS_FILTERS[status])
    if type_name is not None:
        where.append(COLUMNS.type == type_name)
    if enabled is not None:
        where.append(COLUMNS.enabled == enabled)
    # As it is: with a condition, even none, it would be another statement, to be looked up anew.
    query = ledger.SHOWN_OF_ORGANIZATION.where(*where) if where else ledger.SHOWN_OF_ORGANIZATION
    return ledger.show(session, query, organization_id=organization_id)


def find(session: Session, connection_id: UUID) -> Case:
    """Return one connection to look at. Raises NotFound."""
    return ledger.show_one(session, connection_id)


def seed(session: Session, organization_id: UUID, *, actor: Actor, now: datetime) -> list[Change]:
    """Create the seeded connections that are missing; safe in parallel, for the database leaves out what exists."""
    organizations.ensure(session, organization_id)
    missing = [_new(entry, organization_id, actor=actor, now=now) for entry in sources.SEEDED.values()]
    return ledger.write(session, missing, actor=actor, now=now)


def configure(
    session: Session,
    connection_id: UUID,
    *,
    fields: Mapping[str, Any],
    expected: Expected = None,
    actor: Actor,
    now: datetime,
) -> tuple[Case, list[Change]]:
    """Set any of `name`, `description`, `config` and `enabled`. Raises NotFound, ChangedMeanwhile."""
    case = ledger.one(session, connection_id)
    return case, _configure(session, case, fields=fields, expected=expected, actor=actor, now=now)


def configure_type(
    session: Session,
    organization_id: UUID,
    entry: sources.SourceType,
    *,
    fields: Mapping[str, Any],
    expected: Expected = None,
    actor: Actor,
    now: datetime,
) -> tuple[Case, list[Change]]:
    """Configure the organization's connection of a type, which is created (or restored) if there is none.

    Raises ChangedMeanwhile, ServiceUnavailable.
    """
    case, created = _one_of_type(session, organization_id, entry, actor=actor, now=now)
    return case, created + _configure(session, case, fields=fields, expected=expected, actor=actor, now=now)


def create(
    session: Session,
    organization_id: UUID,
    entry: sources.SourceType,
    *,
    fields: Mapping[str, Any],
    actor: Actor,
    now: datetime,
) -> tuple[Case, list[Change]]:
    """Create a connection of a type, or restore the deleted one under its old id. Raises AlreadyExists."""
    organizations.ensure(session, organization_id)
    case = _deleted(session, organization_id, entry.name)
    if case is None:
        case = _new(entry, organization_id, actor=actor, now=now)
    else:
        case.connection.deleted_at = None
        case.connection.updated_by = actor.id or case.connection.updated_by
        case.note("connection.restored")
    if fields:
        _set(case, fields=fields, actor=actor, now=now)
    changes = ledger.write(session, [case], actor=actor, now=now)
    if not changes:
        raise errors.AlreadyExists(f"Your organization has a connection of type '{entry.name}' already")
    return case, changes


def delete(
    session: Session, connection_id: UUID, *, actor: Actor, now: datetime
) -> tuple[Case, list[UUID], list[Change]]:
    """Soft-delete a connection of a type that is not seeded, and end what still runs, whose ids are returned too.

    Raises NotFound, CannotDelete.
    """
    case = ledger.one(session, connection_id)
    if not sources.is_deletable(case.connection.type):
        raise errors.CannotDelete("This data source cannot be deleted; disable it instead (enabled: false)")
    abandoned = lifecycle.abandon(case, now=now)
    case.connection.deleted_at = now
    case.connection.enabled = False
    case.connection.updated_by = actor.id or case.connection.updated_by
    case.note("connection.deleted")
    return case, abandoned, ledger.write(session, [case], actor=actor, now=now)


def _one_of_type(
    session: Session, organization_id: UUID, entry: sources.SourceType, *, actor: Actor, now: datetime
) -> tuple[Case, list[Change]]:
    """Return the connection of a type, locked, made or restored if need be, with the changes of that."""
    for _ in range(LOOKS):
        # Each may come between the look and what follows: another request that makes it, and one that deletes it.
        with suppress(errors.NotFound):
            return ledger.one_of_type(session, organization_id, entry.name), []
        with suppress(errors.AlreadyExists):
            return create(session, organization_id, entry, fields={}, actor=actor, now=now)
    raise errors.ServiceUnavailable("Others create and delete this data source right now; try again")


def _configure(
    session: Session, case: Case, *, fields: Mapping[str, Any], expected: Expected, actor: Actor, now: datetime
) -> list[Change]:
    if expected is not None and not expected(case.connection.version):
        raise errors.ChangedMeanwhile(
            "Somebody else has changed this data source; read it again and repeat your change",
            version=case.connection.version,
        )
    _set(case, fields=fields, actor=actor, now=now)
    return ledger.write(session, [case], actor=actor, now=now)


def _set(case: Case, *, fields: Mapping[str, Any], actor: Actor, now: datetime) -> None:
    connection = case.connection
    # What is answered and pushed is what the database will hold.
    stored = {name: JsonObject(value) if isinstance(value, dict) else value for name, value in fields.items()}
    if all(getattr(connection, name) == value for name, value in stored.items()):
        return
    for name, value in stored.items():
        setattr(connection, name, value)
    connection.updated_by = actor.id or connection.updated_by
    if connection.enabled:
        connection.first_enabled_at = connection.first_enabled_at or now
    case.note("connection.configured")
    if not connection.enabled:
        lifecycle.stop_undelivered(case, by=actor.email or "an operator", now=now)


def _new(entry: sources.SourceType, organization_id: UUID, *, actor: Actor, now: datetime) -> Case:
    if actor.id is None:
        raise ValueError("a connection is created by a user")
    case = Case(
        Connection(
            id=uuid4(),
            organization_id=organization_id,
            type=entry.name,
            name=entry.label,
            description=entry.description,
            created_by=actor.id,
            updated_by=actor.id,
            created_at=now,
            updated_at=now,
        )
    )
    case.note("connection.created")
    return case


def _deleted(session: Session, organization_id: UUID, type_name: str) -> Case | None:
    """Return the deleted connection of a type, which nothing else can see."""
    row = session.execute(
        select(*ledger.CONNECTION_COLUMNS)
        .where(COLUMNS.organization_id == organization_id, COLUMNS.type == type_name, COLUMNS.deleted_at.is_not(None))
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        return None
    case = Case(Connection(*row))
    case.mark_stored()
    return case
