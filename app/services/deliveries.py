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
from app.cached_plans import UUID_ARRAY, with_cached_plan
from app.domain import lifecycle, retry
from app.domain.actors import SYSTEM
from app.domain.aggregate import Change, ConnectionAggregate, Operation
from app.domain.delivery_job import DeliveryJob
from app.domain.texts import count_with_noun
from app.extensions import Session
from app.services import aggregate_store, history
from app.services.tables import CONNECTIONS, OPERATION_COLUMNS, OPERATIONS

# The API sends the job itself; if that got lost, the dispatcher sends another after this. Any sooner, a queue that is
# long for a moment would be made longer.
REQUEST_JOB_LIFETIME = timedelta(seconds=3)
# A job sent by the dispatcher may wait behind others, and so may one that it left to a long queue: until then it is not
# looked at again.
DISPATCHED_JOB_LIFETIME = timedelta(seconds=10)
# A claim outlives the POST by this much, for the look-up of a name has no limit of its own.
CLAIM_MARGIN = timedelta(seconds=20)
# What a person reads of an operation that waits for the receiver itself.
SERVICE_DOWN_MESSAGE = "The external service does not answer at present; the request waits for it"
# One sweep takes this many.
MAX_ROWS_PER_SWEEP = 500


def _attempt_is_due(now: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ...]:
    """Return what makes an attempt due: the operation waits for one, its time has come, and no worker holds it."""
    free = or_(OPERATIONS.c.claimed_until.is_(None), OPERATIONS.c.claimed_until < now)
    return OPERATIONS.c.state == "pending", OPERATIONS.c.next_attempt_at <= now, free


_NOW_PARAMETER = bindparam("now", type_=DateTime(timezone=True))
# Locked in the order of their ids, as everywhere, so that two workers with the same jobs never wait for each other.
_CLAIMABLE_OPERATIONS = (
    select(OPERATIONS.c.id)
    .where(OPERATIONS.c.id == any_(bindparam("operation_ids", type_=UUID_ARRAY)))
    .where(OPERATIONS.c.deadline_at > _NOW_PARAMETER, *_attempt_is_due(_NOW_PARAMETER))
    .order_by(OPERATIONS.c.id)
    .with_for_update(key_share=True)
    .cte("claimable")
)
_CLAIM_STATEMENT = with_cached_plan(
    update(OPERATIONS)
    .where(OPERATIONS.c.id == _CLAIMABLE_OPERATIONS.c.id, CONNECTIONS.c.id == OPERATIONS.c.connection_id)
    .values(attempts=OPERATIONS.c.attempts + 1, claimed_until=bindparam("until"))
    .returning(*OPERATION_COLUMNS, CONNECTIONS.c.type)
)


@dataclass(frozen=True, slots=True)
class ClaimedOperation:
    """One operation that this worker, and no other, posts now."""

    operation: Operation
    connection_type: str


@dataclass(frozen=True, slots=True)
class DueOperations:
    """Operations whose attempt is due, verifications first, then longest first; some may have a job that got lost."""

    without_job: list[DeliveryJob] = field(default_factory=list)
    job_overdue: list[DeliveryJob] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.without_job or self.job_overdue)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How a claimed attempt ended.

    One that only found again what was known, that the receiver is down, is logged, not counted (`counts_as_attempt`).
    """

    operation: Operation
    outcome: retry.AttemptOutcome
    counts_as_attempt: bool = True


def claim_due_operations(
    session: Session, operation_ids: Sequence[UUID], *, post_timeout: timedelta, now: datetime
) -> dict[UUID, ClaimedOperation]:
    """Take those operations whose attempt is due, for as long as a POST may last, by id.

    The compare-and-set makes every extra job harmless: of any number, one finds the row claimable.
    """
    times = {"now": now, "until": now + post_timeout + CLAIM_MARGIN}
    rows = session.execute(_CLAIM_STATEMENT, {"operation_ids": list(operation_ids), **times})
    return {row[0]: ClaimedOperation(Operation(*row[:-1]), connection_type=row[-1]) for row in rows}


def defer_while_service_down(session: Session, operation_id: UUID, *, until: datetime, now: datetime) -> list[Change]:
    """Let a due operation wait for the receiver, without spending an attempt; only the first time is news."""
    due = (OPERATIONS.c.id == operation_id, *_attempt_is_due(now))
    again = update(OPERATIONS).where(*due, OPERATIONS.c.last_attempt_error == SERVICE_DOWN_MESSAGE)
    if session.scalar(again.values(next_attempt_at=until, queued_until=None).returning(OPERATIONS.c.id)):
        return []
    connection_id = session.scalar(select(OPERATIONS.c.connection_id).where(*due))
    if connection_id is None:
        return []
    aggregates = aggregate_store.load_for_update(session, [connection_id], operation_ids=[operation_id])
    aggregate = aggregates.get(connection_id)
    # Looked at once more, now that nobody else can take it.
    if aggregate is None or not session.scalar(select(OPERATIONS.c.id).where(*due)):
        return []
    operation = aggregate.operations[operation_id]
    operation.last_attempt_error, operation.queued_until = SERVICE_DOWN_MESSAGE, None
    lifecycle.schedule_next_attempt(aggregate, operation, next_attempt_at=until)
    return aggregate_store.save(session, [aggregate], actor=SYSTEM, now=now)


def record_attempt_results(
    session: Session,
    results: Sequence[AttemptResult],
    *,
    retry_schedule_for: Callable[[str], Sequence[timedelta]],
    deadlines: lifecycle.Deadlines,
    now: datetime,
) -> tuple[dict[UUID, Operation], list[Change]]:
    """Write down how claimed attempts ended, and what follows; return the operations as they are then, by id.

    `retry_schedule_for` gives the pauses between the attempts of a kind. An answer that has overtaken this record
    stays: the attempt is then only logged. An operation whose connection was deleted meanwhile is left out.
    """
    connection_ids = sorted({attempt.operation.connection_id for attempt in results})
    operation_ids = [attempt.operation.id for attempt in results]
    aggregates = aggregate_store.load_for_update(session, connection_ids, operation_ids=operation_ids)
    operations: dict[UUID, Operation] = {}
    for result in results:
        aggregate = aggregates.get(result.operation.connection_id)
        if aggregate is not None:
            operation = operations[result.operation.id] = aggregate.operations[result.operation.id]
            retry_schedule = retry_schedule_for(operation.kind)
            _apply_attempt_result(
                aggregate, operation, result, retry_schedule=retry_schedule, deadlines=deadlines, now=now
            )
    return operations, aggregate_store.save(session, aggregates.values(), actor=SYSTEM, now=now)


def _apply_attempt_result(
    aggregate: ConnectionAggregate,
    operation: Operation,
    result: AttemptResult,
    *,
    retry_schedule: Sequence[timedelta],
    deadlines: lifecycle.Deadlines,
    now: datetime,
) -> None:
    outcome, number = result.outcome, result.operation.attempts
    operation.claimed_until = operation.queued_until = None
    operation.last_status_code, operation.last_attempt_error = outcome.status_code, outcome.error
    operation.attempt_log = [*operation.attempt_log, _attempt_log_entry(number, outcome, now=now)]
    if outcome.verdict is retry.RetryVerdict.DONE:
        lifecycle.record_delivery(aggregate, operation, deadlines=deadlines, now=now)
        return
    wait = None
    if not result.counts_as_attempt:
        # Due at once, which is to say when the breaker lets it. One attempt stays counted: the service may know of it.
        wait, operation.attempts = timedelta(0), max(1, operation.attempts - 1)
    elif outcome.verdict is retry.RetryVerdict.RETRY:
        luck = random.random()  # noqa: S311 - it spreads load, it guards nothing
        wait = retry.delay_after_attempt(
            number, retry_schedule=retry_schedule, jitter_fraction=luck, retry_after=outcome.retry_after
        )
    if wait is not None and operation.state == "pending":
        lifecycle.schedule_next_attempt(aggregate, operation, next_attempt_at=now + wait)
    elif wait is None:
        error = f"{outcome.error}; given up after {count_with_noun(number, 'attempt')}"
        lifecycle.record_undeliverable(aggregate, operation, ending=outcome.ending, error=error, now=now)


def take_due_operations(session: Session, *, now: datetime) -> DueOperations:
    """Return the operations whose attempt is due and for which no job is believed to be under way, and mark them.

    The mark is what keeps a long queue from growing with every beat; `clear_job_marks` takes it back.
    """
    due = (
        select(OPERATIONS.c.id, OPERATIONS.c.queued_until)
        .where(*_attempt_is_due(now), or_(OPERATIONS.c.queued_until.is_(None), OPERATIONS.c.queued_until <= now))
        # Somebody waits for a verification: however many syncs are due, it is not left for a later sweep.
        .order_by(OPERATIONS.c.kind.desc(), OPERATIONS.c.next_attempt_at)
        .limit(MAX_ROWS_PER_SWEEP)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    marked = update(OPERATIONS).where(OPERATIONS.c.id == due.c.id).values(queued_until=now + DISPATCHED_JOB_LIFETIME)
    wanted = (OPERATIONS.c.id, OPERATIONS.c.kind, OPERATIONS.c.organization_id)
    rows = session.execute(marked.returning(*wanted, due.c.queued_until, OPERATIONS.c.next_attempt_at)).all()
    in_order = sorted(rows, key=lambda row: (row.kind != "verify", row.next_attempt_at))
    return DueOperations(
        without_job=[DeliveryJob(*row[:3]) for row in in_order if row.queued_until is None],
        job_overdue=[DeliveryJob(*row[:3]) for row in in_order if row.queued_until is not None],
    )


def clear_job_marks(session: Session, operation_ids: Sequence[UUID]) -> None:
    """Take back the mark of operations whose job could not be sent."""
    of_these = any_(literal(list(operation_ids), UUID_ARRAY))
    session.execute(update(OPERATIONS).where(OPERATIONS.c.id == of_these).values(queued_until=None))


def make_attempt_due_now(session: Session, operation_id: UUID, *, now: datetime) -> DeliveryJob:
    """Make a pending operation's attempt due now, and return what a job says of it.

    Raises NotFound, OperationEnded for one that waits for none.
    """
    operation = history.get_operation(session, operation_id)
    if operation.state != "pending":
        shown = {"id": operation.id, "state": operation.state}
        raise errors.OperationEnded(f"This operation is {operation.state}: no delivery is due", operation=shown)
    hastened = update(OPERATIONS).where(OPERATIONS.c.id == operation_id, OPERATIONS.c.state == "pending")
    session.execute(hastened.values(next_attempt_at=now, queued_until=now + REQUEST_JOB_LIFETIME))
    return operation.delivery_job


def _attempt_log_entry(attempt: int, outcome: retry.AttemptOutcome, *, now: datetime) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "at": now,
        "verdict": outcome.verdict,
        "status_code": outcome.status_code,
        "error": outcome.error,
        "duration_ms": round(outcome.duration / timedelta(milliseconds=1)),
    }
