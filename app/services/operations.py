"""Operations from the request to their end by a deadline or by hand; what is between, see `deliveries`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app import errors
from app.domain import ids, lifecycle, sources
from app.domain.actors import SYSTEM, Actor
from app.domain.cases import OPEN, Case, Change, Connection, Operation
from app.extensions import Session
from app.services import history, ledger
from app.services.deliveries import PRESS_HINT, SWEEP

OPERATIONS = ledger.OPERATIONS.c


@dataclass(frozen=True, slots=True)
class Opened:
    """A new operation, the ids of those that it took the place of, and the changes to push."""

    connection: Connection
    operation: Operation
    replaced: list[UUID]
    changes: list[Change]


def open_verify(
    session: Session,
    connection_id: UUID,
    *,
    operation_id: UUID,
    with_credentials: bool,
    patience: lifecycle.Patience,
    actor: Actor,
    now: datetime,
) -> Opened:
    """Open a verification under the id that its encrypted content is stored under.

    Nothing of the request's body comes here: it travels encrypted, see `outbound/sealing.py`. Raises NotFound, Invalid
    (no credentials for a type that needs them), VerificationInProgress, SyncInProgress.
    """
    found = ledger.one(session, connection_id)
    if sources.needs_credentials(found.connection.type) and not with_credentials:
        problem = {"field": "credentials", "message": "this type needs credentials"}
        raise errors.Invalid("Send the credentials to verify", errors=[problem])
    _refuse_while_running(found)
    operation = _new(found, "verify", operation_id, deadline=now + patience.verify, actor=actor, now=now)
    return _open(session, found, operation, actor=actor, now=now)


def open_sync(
    session: Session,
    connection_id: UUID,
    *,
    operation_id: UUID,
    force: bool,
    idempotency_key: str | None = None,
    patience: lifecycle.Patience,
    actor: Actor,
    now: datetime,
) -> Opened:
    """Open a sync; with `force` in place of whatever runs. A key that has opened one before returns that one.

    Raises NotFound, ConnectionDisabled, NotConfigured, VerificationInProgress, SyncInProgress.
    """
    found = ledger.one(session, connection_id)
    connection = found.connection
    # Looked for under the connection's lock, so that of two alike the second finds what the first has made.
    if idempotency_key and (known := history.by_key(session, connection_id, idempotency_key)):
        return Opened(connection, known, replaced=[], changes=[])
    if not connection.enabled:
        raise errors.ConnectionDisabled("This data source is disabled; enable it first")
    if sources.needs_credentials(connection.type) and not _was_verified(connection):
        raise errors.NotConfigured("Verify this data source's credentials with success first")
    if not force:
        _refuse_while_running(found)
    if any(known > operation_id for known in found.operations):
        # It was made before the wait for the row, where another came first; ids are in the order of operations.
        operation_id = ids.made_after(now, *found.operations)
    operation = _new(found, "sync", operation_id, deadline=now + patience.sync_delivery, actor=actor, now=now)
    operation.idempotency_key = idempotency_key
    operation.request = {"connection_name": connection.name, "config": connection.config}
    return _open(session, found, operation, actor=actor, now=now)


def find_overdue(session: Session, *, now: datetime) -> list[UUID]:
    """Return the connections with an operation past its deadline."""
    overdue = (
        select(OPERATIONS.connection_id)
        .where(OPERATIONS.state.in_(sorted(OPEN)), OPERATIONS.deadline_at <= now)
        .distinct()
        .limit(SWEEP)
    )
    return list(session.scalars(overdue))


def expire(session: Session, connection_ids: Sequence[UUID], *, now: datetime) -> list[Change]:
    """End the overdue operations of these connections, each saying what was waited for in vain.

    An operation that a worker holds right now is left for the next sweep: it may just be arriving.
    """
    cases = ledger.read(session, connection_ids)
    for found in cases.values():
        for operation in list(found.operations.values()):
            held = operation.claimed_until is not None and operation.claimed_until > now
            if operation.deadline_at is not None and operation.deadline_at <= now and not held:
                lifecycle.expire(found, operation, now=now)
    return ledger.write(session, cases.values(), actor=SYSTEM, now=now)


def end(session: Session, operation_id: UUID, *, actor: Actor, now: datetime) -> tuple[Operation, list[Change]]:
    """End an open operation for a person who has given up on it. Raises NotFound, OperationEnded."""
    connection_id = history.operation(session, operation_id).connection_id
    found = ledger.one(session, connection_id, named=[operation_id])
    operation = found.operations[operation_id]
    if not lifecycle.end(found, operation, by=actor.email or "an operator", now=now):
        raise errors.OperationEnded(
            "This operation has ended already", operation={"id": operation.id, "state": operation.state}
        )
    return operation, ledger.write(session, [found], actor=actor, now=now)


def _refuse_while_running(found: Case) -> None:
    running = found.running()
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


def _new(found: Case, kind: str, operation_id: UUID, *, deadline: datetime, actor: Actor, now: datetime) -> Operation:
    return Operation(
        id=operation_id,
        organization_id=found.connection.organization_id,
        connection_id=found.connection.id,
        kind=kind,
        origin="user",
        created_at=now,
        deadline_at=deadline,
        requested_by=actor.id,
        requested_email=actor.email,
        request_id=actor.request_id,
        next_attempt_at=now,
        queued_until=now + PRESS_HINT,
    )


def _open(session: Session, found: Case, operation: Operation, *, actor: Actor, now: datetime) -> Opened:
    replaced = lifecycle.request(found, operation, now=now)
    changes = ledger.write(session, [found], actor=actor, now=now)
    return Opened(found.connection, operation, replaced, changes)
