"""Operations from the request to their end by a deadline or by hand; what is between, see `deliveries`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app import errors
from app.domain import ids, lifecycle, source_types
from app.domain.actors import SYSTEM, Actor
from app.domain.aggregate import OPEN_STATES, Change, Connection, ConnectionAggregate, Operation
from app.extensions import Session
from app.services import aggregate_store, history
from app.services.deliveries import MAX_ROWS_PER_SWEEP, REQUEST_JOB_LIFETIME
from app.services.tables import OPERATIONS


@dataclass(frozen=True, slots=True)
class OpenedOperation:
    """A new operation, the ids of those that it took the place of, and the changes to push."""

    connection: Connection
    operation: Operation
    replaced_ids: list[UUID]
    changes: list[Change]


def open_verification(
    session: Session,
    connection_id: UUID,
    *,
    operation_id: UUID,
    has_credentials: bool,
    deadlines: lifecycle.Deadlines,
    actor: Actor,
    now: datetime,
) -> OpenedOperation:
    """Open a verification under the id that its encrypted content is stored under.

    Nothing of the request's body comes here: it travels encrypted, see `outbound/credential_store.py`. Raises NotFound,
    Invalid (no credentials for a type that needs them), VerificationInProgress, SyncInProgress.
    """
    aggregate = aggregate_store.load_one_for_update(session, connection_id)
    if source_types.type_needs_credentials(aggregate.connection.type) and not has_credentials:
        problem = {"field": "credentials", "message": "this type needs credentials"}
        raise errors.Invalid("Send the credentials to verify", errors=[problem])
    _require_nothing_running(aggregate)
    deadline = now + deadlines.verification
    operation = _new_operation(aggregate, "verify", operation_id, deadline=deadline, actor=actor, now=now)
    return _save_opened_operation(session, aggregate, operation, actor=actor, now=now)


def open_sync(
    session: Session,
    connection_id: UUID,
    *,
    operation_id: UUID,
    replace_running: bool,
    idempotency_key: str | None = None,
    deadlines: lifecycle.Deadlines,
    actor: Actor,
    now: datetime,
) -> OpenedOperation:
    """Open a sync; with `replace_running` in place of whatever runs. A key that has opened one before returns that one.

    Raises NotFound, ConnectionDisabled, NotConfigured, VerificationInProgress, SyncInProgress.
    """
    aggregate = aggregate_store.load_one_for_update(session, connection_id)
    connection = aggregate.connection
    # Looked for under the connection's lock, so that of two alike the second finds what the first has made.
    if idempotency_key and (known := history.find_operation_by_key(session, connection_id, idempotency_key)):
        return OpenedOperation(connection, known, replaced_ids=[], changes=[])
    if not connection.enabled:
        raise errors.ConnectionDisabled("This data source is disabled; enable it first")
    if source_types.type_needs_credentials(connection.type) and not _was_verified(connection):
        raise errors.NotConfigured("Verify this data source's credentials with success first")
    if not replace_running:
        _require_nothing_running(aggregate)
    if any(known > operation_id for known in aggregate.operations):
        # It was made before the wait for the row, where another came first; ids are in the order of operations.
        operation_id = ids.new_id_after(now, *aggregate.operations)
    deadline = now + deadlines.sync_delivery
    operation = _new_operation(aggregate, "sync", operation_id, deadline=deadline, actor=actor, now=now)
    operation.idempotency_key = idempotency_key
    operation.request = {"connection_name": connection.name, "config": connection.config}
    return _save_opened_operation(session, aggregate, operation, actor=actor, now=now)


def find_connections_with_overdue_operations(session: Session, *, now: datetime) -> list[UUID]:
    """Return the connections with an operation past its deadline."""
    is_overdue = (OPERATIONS.c.state.in_(sorted(OPEN_STATES)), OPERATIONS.c.deadline_at <= now)
    overdue = select(OPERATIONS.c.connection_id).where(*is_overdue).distinct().limit(MAX_ROWS_PER_SWEEP)
    return list(session.scalars(overdue))


def expire_overdue_operations(session: Session, connection_ids: Sequence[UUID], *, now: datetime) -> list[Change]:
    """End the overdue operations of these connections, each saying what was waited for in vain.

    An operation that a worker holds right now is left for the next sweep: it may just be arriving.
    """
    aggregates = aggregate_store.load_for_update(session, connection_ids)
    for aggregate in aggregates.values():
        for operation in list(aggregate.operations.values()):
            held = operation.claimed_until is not None and operation.claimed_until > now
            if operation.deadline_at is not None and operation.deadline_at <= now and not held:
                lifecycle.expire_operation(aggregate, operation, now=now)
    return aggregate_store.save(session, aggregates.values(), actor=SYSTEM, now=now)


def end_operation(
    session: Session, operation_id: UUID, *, actor: Actor, now: datetime
) -> tuple[Operation, list[Change]]:
    """End an open operation for a person who has given up on it. Raises NotFound, OperationEnded."""
    connection_id = history.get_operation(session, operation_id).connection_id
    aggregate = aggregate_store.load_one_for_update(session, connection_id, operation_ids=[operation_id])
    operation = aggregate.operations[operation_id]
    if not lifecycle.end_by_person(aggregate, operation, ended_by=actor.email or "an operator", now=now):
        shown = {"id": operation.id, "state": operation.state}
        raise errors.OperationEnded("This operation has ended already", operation=shown)
    return operation, aggregate_store.save(session, [aggregate], actor=actor, now=now)


def _require_nothing_running(aggregate: ConnectionAggregate) -> None:
    running = aggregate.running_operation()
    if running is None:
        return
    named = {"id": running.id, "kind": running.kind, "state": running.state, "requested_at": running.created_at}
    if running.kind == "verify":
        raise errors.VerificationInProgress("The credentials are being verified; wait for the answer", operation=named)
    raise errors.SyncInProgress('A sync is running; wait for it, or send {"force": true}', operation=named)


def _was_verified(connection: Connection) -> bool:
    if connection.verified_at is not None:
        return True
    return connection.last_verification_at is not None and connection.last_verification_error is None


def _new_operation(
    aggregate: ConnectionAggregate, kind: str, operation_id: UUID, *, deadline: datetime, actor: Actor, now: datetime
) -> Operation:
    return Operation(
        id=operation_id,
        organization_id=aggregate.connection.organization_id,
        connection_id=aggregate.connection.id,
        kind=kind,
        origin="user",
        created_at=now,
        deadline_at=deadline,
        requested_by=actor.id,
        requested_email=actor.email,
        request_id=actor.request_id,
        next_attempt_at=now,
        queued_until=now + REQUEST_JOB_LIFETIME,
    )


def _save_opened_operation(
    session: Session, aggregate: ConnectionAggregate, operation: Operation, *, actor: Actor, now: datetime
) -> OpenedOperation:
    replaced = lifecycle.open_requested_operation(aggregate, operation, now=now)
    changes = aggregate_store.save(session, [aggregate], actor=actor, now=now)
    return OpenedOperation(aggregate.connection, operation, replaced, changes)
