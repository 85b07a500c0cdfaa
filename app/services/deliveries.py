"""The delivery of operations: claim, park, record, dispatch. The row is the schedule, jobs are hints."""

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

from app import errors
from app.domain import lifecycle, retry
from app.domain.actors import SYSTEM
from app.domain.cases import Change, Operation
from app.services import history, ledger
from app.services.connections import COLUMNS

OPERATIONS = ledger.OPERATIONS.c

# The press sends its job itself; if that got lost, the dispatcher sends another after this. Any sooner, a queue that is
# long for a moment would be made longer.
PRESS_HINT = timedelta(seconds=3)
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
class Claim:
    """One operation that this worker, and no other, posts now."""

    operation: Operation
    connection_type: str


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
    spends: bool = True,
    now: datetime,
) -> tuple[Operation, list[Change]]:
    """Write down how the claimed attempt ended, and what follows from it.

    One that only found again what was known, that the receiver is down, is logged and not counted (`spends`).
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
    if not spends:
        # Due at once, which is to say when the breaker lets it. One attempt stays counted: the service may know of it.
        wait, known.attempts = timedelta(0), max(1, known.attempts - 1)
    elif outcome.verdict is retry.Verdict.RETRY:
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


def hasten(session: Session, operation_id: UUID, *, now: datetime) -> None:
    """Make a pending operation's attempt due now. Raises NotFound, OperationEnded for one that waits for none."""
    known = history.operation(session, operation_id)
    if known.state != "pending":
        raise errors.OperationEnded(
            f"This operation is {known.state}: no delivery is due", operation={"id": known.id, "state": known.state}
        )
    hastened = update(ledger.OPERATIONS).where(OPERATIONS.id == operation_id, OPERATIONS.state == "pending")
    session.execute(hastened.values(next_attempt_at=now, queued_until=now + PRESS_HINT))


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
