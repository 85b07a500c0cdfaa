"""The delivery of operations: claim, defer, record, dispatch. The row is the schedule, jobs are hints."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, DateTime, any_, bindparam, literal, or_, select, update

from app import errors
from app.domain import lifecycle, retry
from app.domain.actors import SYSTEM
from app.domain.cases import Case, Change, Operation
from app.domain.delivery import Delivery
from app.domain.texts import counted
from app.extensions import Session
from app.prepared import IDS, prepared
from app.services import history, ledger
from app.services.connections import COLUMNS

OPERATIONS = ledger.OPERATIONS.c

# The API sends the job itself; if that got lost, the dispatcher sends another after this. Any sooner, a queue that is
# long for a moment would be made longer.
PRESS_HINT = timedelta(seconds=3)
# A job sent by the dispatcher may wait behind others, and so may one that it left to a long queue: until then it is not
# looked at again.
DISPATCH_HINT = timedelta(seconds=10)
# A claim outlives the POST by this much, for the look-up of a name has no limit of its own.
CLAIM_MARGIN = timedelta(seconds=20)
# What a person reads of an operation that waits for the receiver itself.
PARKED = "The external service does not answer at present; the request waits for it"
# One sweep takes this many.
SWEEP = 500


def _due(now: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ...]:
    """Return what makes an attempt due: the operation waits for one, its time has come, and no worker holds it."""
    free = or_(OPERATIONS.claimed_until.is_(None), OPERATIONS.claimed_until < now)
    return OPERATIONS.state == "pending", OPERATIONS.next_attempt_at <= now, free


_NOW = bindparam("now", type_=DateTime(timezone=True))
# Locked in the order of their ids, as everywhere, so that two workers with the same jobs never wait for each other.
_CLAIMABLE = (
    select(OPERATIONS.id)
    .where(OPERATIONS.id == any_(bindparam("operation_ids", type_=IDS)))
    .where(OPERATIONS.deadline_at > _NOW, *_due(_NOW))
    .order_by(OPERATIONS.id)
    .with_for_update(key_share=True)
    .cte("claimable")
)
_CLAIM = prepared(
    update(ledger.OPERATIONS)
    .where(OPERATIONS.id == _CLAIMABLE.c.id, COLUMNS.id == OPERATIONS.connection_id)
    .values(attempts=OPERATIONS.attempts + 1, claimed_until=bindparam("until"))
    .returning(*ledger.OPERATION_COLUMNS, COLUMNS.type)
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One operation that this worker, and no other, posts now."""

    operation: Operation
    connection_type: str


@dataclass(frozen=True, slots=True)
class Due:
    """Operations whose attempt is due, verifications first, then longest first; some may have a job that got lost."""

    unsent: list[Delivery] = field(default_factory=list)
    overdue: list[Delivery] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.unsent or self.overdue)


@dataclass(frozen=True, slots=True)
class Attempted:
    """How a claimed attempt ended.

    One that only found again what was known, that the receiver is down, is logged and not counted (`spends`).
    """

    operation: Operation
    outcome: retry.Outcome
    spends: bool = True


def claim(session: Session, operation_ids: Sequence[UUID], *, lease: timedelta, now: datetime) -> dict[UUID, Claim]:
    """Take those operations whose attempt is due, for as long as a POST may last, by id.

    The compare-and-set makes every extra job harmless: of any number, one finds the row claimable.
    """
    times = {"now": now, "until": now + lease + CLAIM_MARGIN}
    rows = session.execute(_CLAIM, {"operation_ids": list(operation_ids), **times})
    return {row[0]: Claim(Operation(*row[:-1]), connection_type=row[-1]) for row in rows}


def park(session: Session, operation_id: UUID, *, until: datetime, now: datetime) -> list[Change]:
    """Let a due operation wait for the receiver, without spending an attempt; only the first time is news."""
    due = (OPERATIONS.id == operation_id, *_due(now))
    again = update(ledger.OPERATIONS).where(*due, OPERATIONS.last_attempt_error == PARKED).returning(OPERATIONS.id)
    if session.scalar(again.values(next_attempt_at=until, queued_until=None)):
        return []
    connection_id = session.scalar(select(OPERATIONS.connection_id).where(*due))
    if connection_id is None:
        return []
    found = ledger.read(session, [connection_id], named=[operation_id]).get(connection_id)
    # Looked at once more, now that nobody else can take it.
    if found is None or not session.scalar(select(OPERATIONS.id).where(*due)):
        return []
    known = found.operations[operation_id]
    known.last_attempt_error, known.queued_until = PARKED, None
    lifecycle.delayed(found, known, until=until)
    return ledger.write(session, [found], actor=SYSTEM, now=now)


def record(
    session: Session,
    attempts: Sequence[Attempted],
    *,
    waits: Callable[[str], Sequence[timedelta]],
    patience: lifecycle.Patience,
    now: datetime,
) -> tuple[dict[UUID, Operation], list[Change]]:
    """Write down how claimed attempts ended, and what follows; return the operations as they are then, by id.

    `waits` gives the pauses between the attempts of a kind. An answer that has overtaken this record stays: the attempt
    is then only logged. An operation whose connection was deleted meanwhile is left out.
    """
    connection_ids = sorted({attempt.operation.connection_id for attempt in attempts})
    cases = ledger.read(session, connection_ids, named=[attempt.operation.id for attempt in attempts])
    known: dict[UUID, Operation] = {}
    for attempt in attempts:
        found = cases.get(attempt.operation.connection_id)
        if found is not None:
            operation = known[attempt.operation.id] = found.operations[attempt.operation.id]
            _note(found, operation, attempt, waits=waits(operation.kind), patience=patience, now=now)
    return known, ledger.write(session, cases.values(), actor=SYSTEM, now=now)


def _note(
    found: Case,
    known: Operation,
    attempt: Attempted,
    *,
    waits: Sequence[timedelta],
    patience: lifecycle.Patience,
    now: datetime,
) -> None:
    outcome, number = attempt.outcome, attempt.operation.attempts
    known.claimed_until = known.queued_until = None
    known.last_status_code, known.last_attempt_error = outcome.status_code, outcome.error
    known.attempt_log = [*known.attempt_log, _log_entry(number, outcome, now=now)]
    if outcome.verdict is retry.Verdict.DONE:
        lifecycle.delivered(found, known, patience=patience, now=now)
        return
    wait = None
    if not attempt.spends:
        # Due at once, which is to say when the breaker lets it. One attempt stays counted: the service may know of it.
        wait, known.attempts = timedelta(0), max(1, known.attempts - 1)
    elif outcome.verdict is retry.Verdict.RETRY:
        luck = random.random()  # noqa: S311 - it spreads load, it guards nothing
        wait = retry.wait_after(number, waits=waits, luck=luck, retry_after=outcome.retry_after)
    if wait is not None and known.state == "pending":
        lifecycle.delayed(found, known, until=now + wait)
    elif wait is None:
        error = _told(outcome, attempts=number)
        lifecycle.gave_up(found, known, ending=outcome.ending, error=error, now=now)


def take_due(session: Session, *, now: datetime) -> Due:
    """Return the operations whose attempt is due and for which no job is believed to be under way, and mark them.

    The mark is what keeps a long queue from growing with every beat; `release` takes it back.
    """
    due = (
        select(OPERATIONS.id, OPERATIONS.queued_until)
        .where(*_due(now), or_(OPERATIONS.queued_until.is_(None), OPERATIONS.queued_until <= now))
        # Somebody waits for a verification: however many syncs are due, it is not left for a later sweep.
        .order_by(OPERATIONS.kind.desc(), OPERATIONS.next_attempt_at)
        .limit(SWEEP)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    marked = update(ledger.OPERATIONS).where(OPERATIONS.id == due.c.id).values(queued_until=now + DISPATCH_HINT)
    wanted = (OPERATIONS.id, OPERATIONS.kind, OPERATIONS.organization_id)
    rows = session.execute(marked.returning(*wanted, due.c.queued_until, OPERATIONS.next_attempt_at)).all()
    in_order = sorted(rows, key=lambda row: (row.kind != "verify", row.next_attempt_at))
    return Due(
        unsent=[Delivery(*row[:3]) for row in in_order if row.queued_until is None],
        overdue=[Delivery(*row[:3]) for row in in_order if row.queued_until is not None],
    )


def release(session: Session, operation_ids: Sequence[UUID]) -> None:
    """Take back the mark of operations whose job could not be sent."""
    of_these = any_(literal(list(operation_ids), IDS))
    session.execute(update(ledger.OPERATIONS).where(OPERATIONS.id == of_these).values(queued_until=None))


def hasten(session: Session, operation_id: UUID, *, now: datetime) -> Delivery:
    """Make a pending operation's attempt due now, and return what a job says of it.

    Raises NotFound, OperationEnded for one that waits for none.
    """
    known = history.operation(session, operation_id)
    if known.state != "pending":
        raise errors.OperationEnded(
            f"This operation is {known.state}: no delivery is due", operation={"id": known.id, "state": known.state}
        )
    hastened = update(ledger.OPERATIONS).where(OPERATIONS.id == operation_id, OPERATIONS.state == "pending")
    session.execute(hastened.values(next_attempt_at=now, queued_until=now + PRESS_HINT))
    return known.delivery


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
    tries = counted(attempts, "attempt")
    return f"{outcome.error}; given up after {tries}"
