"""Operations from the press of a button to the end of their delivery: open, claim, record, dispatch, expire."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, DateTime, any_, bindparam, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid
from uuid6 import uuid7

from app import errors
from app.domain import lifecycle, retry, sources
from app.domain.actors import SYSTEM, Actor
from app.domain.cases import OPEN, Case, Change, Connection, Operation
from app.services import history, ledger
from app.services.connections import COLUMNS

OPERATIONS = ledger.OPERATIONS.c

# The press sends its job itself; if that got lost, the dispatcher sends another after this.
PRESS_HINT = timedelta(seconds=1)
# A job sent by the dispatcher may wait behind others; another one any sooner would only make the queue longer.
DISPATCH_HINT = timedelta(seconds=10)
# A claim outlives the POST by this much, for the look-up of a name has no limit of its own.
CLAIM_MARGIN = timedelta(seconds=20)
# What a person reads of an operation that waits for the receiver itself.
PARKED = "The external service does not answer at present; the request waits for it"
# One sweep takes this many; the next follows at once if there are more.
SWEEP = 500


def _due(now: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ...]:
    """Return what makes an attempt due: the operation waits for one, its time has come, and no worker holds it."""
    free = or_(OPERATIONS.claimed_until.is_(None), OPERATIONS.claimed_until < now)
    return OPERATIONS.state == "pending", OPERATIONS.next_attempt_at <= now, free


_NOW = bindparam("now", type_=DateTime(timezone=True))
_CLAIM = (
    update(ledger.OPERATIONS)
    .where(OPERATIONS.id == bindparam("operation_id"), OPERATIONS.deadline_at > _NOW, *_due(_NOW))
    .where(COLUMNS.id == OPERATIONS.connection_id)
    .values(attempts=OPERATIONS.attempts + 1, claimed_until=bindparam("until"))
    .returning(*ledger.OPERATION_COLUMNS, COLUMNS.type)
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A new operation, the ids of those that it took the place of, and the changes to push."""

    connection: Connection
    operation: Operation
    replaced: list[UUID]
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Claim:
    """One operation that this worker, and no other, posts now."""

    operation: Operation
    connection_type: str


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
    """Open a verification under the id that its sealed content is parked under.

    Nothing of the request's body comes here: it travels sealed, see `outbound/sealing.py`. Raises NotFound, Invalid
    (no credentials for a type that needs them), VerificationInProgress, SyncInProgress.
    """
    found = ledger.one(session, COLUMNS.id == connection_id)
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
    force: bool,
    idempotency_key: str | None = None,
    patience: lifecycle.Patience,
    actor: Actor,
    now: datetime,
) -> Opened:
    """Open a sync; with `force` in place of whatever runs. A key that has opened one before returns that one.

    Raises NotFound, ConnectionDisabled, NotConfigured, VerificationInProgress, SyncInProgress.
    """
    found = ledger.one(session, COLUMNS.id == connection_id)
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
    operation = _new(found, "sync", uuid7(), deadline=now + patience.sync_delivery, actor=actor, now=now)
    operation.idempotency_key = idempotency_key
    operation.request = {"connection_name": connection.name, "config": connection.config}
    return _open(session, found, operation, actor=actor, now=now)


def claim(session: Session, operation_id: UUID, *, lease: timedelta, now: datetime) -> Claim | None:
    """Take an operation whose attempt is due, for as long as its POST may last; None if it is not to be had.

    The compare-and-set makes every extra job harmless: of any number, one finds the row claimable.
    """
    times = {"now": now, "until": now + lease + CLAIM_MARGIN}
    row = session.execute(_CLAIM, {"operation_id": operation_id, **times}).one_or_none()
    return None if row is None else Claim(Operation(*row[:-1]), connection_type=row[-1])


def park(session: Session, operation_id: UUID, *, until: datetime, now: datetime) -> list[Change]:
    """Let a due operation wait for the receiver, without spending an attempt; only the first time is news."""
    due = (OPERATIONS.id == operation_id, *_due(now))
    again = update(ledger.OPERATIONS).where(*due, OPERATIONS.last_attempt_error == PARKED).returning(OPERATIONS.id)
    if session.scalar(again.values(next_attempt_at=until, queued_until=None)):
        return []
    connection_id = session.scalar(select(OPERATIONS.connection_id).where(*due))
    if connection_id is None:
        return []
    found = ledger.read(session, COLUMNS.id == connection_id, named=[operation_id]).get(connection_id)
    # Looked at once more, now that nobody else can take it.
    if found is None or not session.scalar(select(OPERATIONS.id).where(*due)):
        return []
    known = found.operations[operation_id]
    known.last_attempt_error, known.queued_until = PARKED, None
    lifecycle.delayed(found, known, until=until)
    return ledger.write(session, [found], actor=SYSTEM, now=now)


def record_attempt(
    session: Session,
    operation: Operation,
    outcome: retry.Outcome,
    *,
    waits: Sequence[timedelta],
    patience: lifecycle.Patience,
    now: datetime,
) -> tuple[Operation, list[Change]]:
    """Write down how the claimed attempt ended, and what follows from it.

    An answer that has overtaken this record stays: the attempt is then only logged. Raises NotFound if the connection
    was deleted meanwhile.
    """
    found = ledger.one(session, COLUMNS.id == operation.connection_id, named=[operation.id])
    known = found.operations[operation.id]
    known.claimed_until = known.queued_until = None
    known.last_status_code, known.last_attempt_error = outcome.status_code, outcome.error
    known.attempt_log = [*known.attempt_log, _log_entry(operation.attempts, outcome, now=now)]
    if outcome.verdict is retry.Verdict.DONE:
        lifecycle.delivered(found, known, patience=patience, now=now)
        return known, ledger.write(session, [found], actor=SYSTEM, now=now)
    wait = None
    if outcome.verdict is retry.Verdict.RETRY:
        luck = random.random()  # noqa: S311 - it spreads load, it guards nothing
        wait = retry.wait_after(operation.attempts, waits=waits, luck=luck, retry_after=outcome.retry_after)
    if wait is not None and known.state == "pending":
        lifecycle.delayed(found, known, until=now + wait)
    elif wait is None:
        lifecycle.gave_up(found, known, error=_told(outcome, attempts=operation.attempts), now=now)
    return known, ledger.write(session, [found], actor=SYSTEM, now=now)


def take_due(session: Session, *, now: datetime) -> list[UUID]:
    """Return the operations whose attempt is due and for which no job is believed to be under way, and mark them.

    The mark is what keeps a long queue from growing with every beat; `release` takes it back.
    """
    due = (
        select(OPERATIONS.id)
        .where(*_due(now), or_(OPERATIONS.queued_until.is_(None), OPERATIONS.queued_until <= now))
        .order_by(OPERATIONS.next_attempt_at)
        .limit(SWEEP)
        .with_for_update(skip_locked=True)
    )
    marked = update(ledger.OPERATIONS).where(OPERATIONS.id.in_(due)).values(queued_until=now + DISPATCH_HINT)
    return list(session.scalars(marked.returning(OPERATIONS.id)))


def release(session: Session, operation_ids: Sequence[UUID]) -> None:
    """Take back the mark of operations whose job could not be sent."""
    of_these = any_(literal(list(operation_ids), ARRAY(Uuid)))
    session.execute(update(ledger.OPERATIONS).where(OPERATIONS.id == of_these).values(queued_until=None))


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
    of_these = COLUMNS.id == any_(literal(list(connection_ids), ARRAY(Uuid)))
    cases = ledger.read(session, of_these)
    for found in cases.values():
        for operation in list(found.operations.values()):
            held = operation.claimed_until is not None and operation.claimed_until > now
            if operation.deadline_at is not None and operation.deadline_at <= now and not held:
                lifecycle.expire(found, operation, now=now)
    return ledger.write(session, cases.values(), actor=SYSTEM, now=now)


def hasten(session: Session, operation_id: UUID, *, now: datetime) -> None:
    """Make a pending operation's attempt due now. Raises NotFound, OperationEnded for one that waits for none."""
    known = history.operation(session, operation_id)
    if known.state != "pending":
        raise errors.OperationEnded(
            f"This operation is {known.state}: no delivery is due", operation={"id": known.id, "state": known.state}
        )
    hastened = update(ledger.OPERATIONS).where(OPERATIONS.id == operation_id, OPERATIONS.state == "pending")
    session.execute(hastened.values(next_attempt_at=now, queued_until=now + PRESS_HINT))


def end(session: Session, operation_id: UUID, *, actor: Actor, now: datetime) -> tuple[Operation, list[Change]]:
    """End an open operation for a person who has given up on it. Raises NotFound, OperationEnded."""
    connection_id = history.operation(session, operation_id).connection_id
    found = ledger.one(session, COLUMNS.id == connection_id, named=[operation_id])
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


def _log_entry(attempt: int, outcome: retry.Outcome, *, now: datetime) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "at": now,
        "verdict": outcome.verdict,
        "status_code": outcome.status_code,
        "error": outcome.error,
        "duration_ms": round(outcome.duration / timedelta(milliseconds=1)),
    }


def _told(outcome: retry.Outcome, *, attempts: int) -> str:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return f"{outcome.error}; given up after {tries}"
