"""Deliver one operation's webhook: claim, post, record. The schedule of attempts lives in PostgreSQL, not here.

Claims and records of the threads of one worker that fall together are made together, and a record waits a moment for
others that are on their way: see `tasks/together.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import structlog
from celery.worker.state import active_requests, reserved_requests
from flask import current_app
from opentelemetry.trace import SpanKind
from redis.exceptions import RedisError

from app import extensions, figures, tracing
from app.domain import retry
from app.domain.cases import Operation
from app.jobs import DELIVER_WEBHOOK
from app.outbound import events, webhook
from app.outbound.breaker import breaker
from app.outbound.encryption import Refused
from app.outbound.sealing import seals
from app.services import deliveries
from app.unit_of_work import unit_of_work
from tasks.celery import app
from tasks.shares import Shares
from tasks.together import Together

log = structlog.get_logger()

# How long a record waits for others, in seconds: what a person does not see.
LINGER = 0.05


# What one organization may have under way in one worker, of either kind: each of its sources as a rule.
A_SHARE = 4
shares = Shares(A_SHARE)


@app.task(name=DELIVER_WEBHOOK, shared=False)
def deliver(
    operation_id: str, kind: str | None = None, organization_id: str | None = None, **_of_a_later_release: object
) -> None:
    """Make the attempt that is due, if it still is; any number of these tasks for one operation do no harm.

    A job of an earlier release does not say whose it is: it has a share to itself.
    """
    try:
        first = UUID(operation_id)
    except (ValueError, TypeError, AttributeError):
        # Whoever may publish to the queue wrote it.
        log.error("job_refused", reason="invalid job", error="its operation is no UUID")  # noqa: TRY400 - it is no bug
        return
    owner = (str(kind), str(organization_id or operation_id))
    if not shares.enter(owner, first):
        log.debug("webhook_awaits_its_share", operation_id=operation_id)
        return
    following: UUID | None = first
    try:
        while following is not None:
            _deliver(following)
            following = shares.following(owner)
    finally:
        if following is not None:
            shares.leave(owner)


def _deliver(operation_id: UUID) -> None:
    structlog.contextvars.unbind_contextvars("request_id", "organization_id", "connection_id")
    structlog.contextvars.bind_contextvars(operation_id=str(operation_id))
    if (pause := breaker().pause()) is not None:
        _park(operation_id, pause)
        return
    claim = take(operation_id)
    if claim is None:
        log.debug("webhook_not_due")
        return
    operation = claim.operation
    structlog.contextvars.bind_contextvars(
        request_id=operation.request_id,
        organization_id=str(operation.organization_id),
        connection_id=str(operation.connection_id),
    )
    with tracing.step(operation.id, "deliver webhook", **{"rita.attempt": operation.attempts}):
        _settle(operation, _attempt(claim))


def _settle(operation: Operation, outcome: retry.Outcome) -> None:
    """Tell the breaker, the metrics, the log and the database what came of an attempt."""
    # A probe that finds what was known takes nothing from the operation.
    spends = not (outcome.receiver_down and breaker().found_down())
    figures.webhook_attempted(operation.kind, outcome)
    log.info(
        "webhook_attempted",
        kind=operation.kind,
        attempt=operation.attempts,
        verdict=outcome.verdict,
        status_code=outcome.status_code,
        error=outcome.error,
        duration_ms=round(outcome.duration.total_seconds() * 1000),
    )
    known = record(deliveries.Attempted(operation, outcome, spends))
    if known is None:
        log.info("webhook_outcome_moot")
    if operation.kind == "verify" and (known is None or known.state != "pending"):
        seals().discard(operation.id)


def _park(operation_id: UUID, pause: timedelta) -> None:
    with unit_of_work(system=True) as work:
        changes = deliveries.park(work.session, operation_id, until=work.now + pause, now=work.now)
        work.after_commit(lambda: events.publish(changes))
    figures.webhook_parked()
    log.info("webhook_parked", seconds=pause.total_seconds())


def _attempt(claim: deliveries.Claim) -> retry.Outcome:
    operation = claim.operation
    sealed: dict[str, Any] | None = None
    if operation.kind == "verify":
        try:
            sealed = seals().open(
                operation.id, organization_id=operation.organization_id, connection_id=operation.connection_id
            )
        except RedisError:
            return retry.from_failure(retry.Failure.CREDENTIALS_UNREACHABLE)
        except Refused:
            return retry.from_failure(retry.Failure.CREDENTIALS_REFUSED)
        if sealed is None:
            return retry.from_failure(retry.Failure.CREDENTIALS_GONE)
    body = webhook.body_of(operation, connection_type=claim.connection_type, sealed=sealed)
    with tracing.work("POST", kind=SpanKind.CLIENT) as span:
        outcome = webhook.post(body, webhook_id=str(operation.id), request_id=operation.request_id, target=_target())
        # Never the address: it may be a secret.
        span.set_attributes({"rita.verdict": outcome.verdict, "http.response.status_code": outcome.status_code or 0})
    return outcome


def _target() -> webhook.Target:
    return cast(webhook.Target, current_app.extensions["webhook_target"])


def claim_all(operation_ids: Sequence[UUID]) -> list[deliveries.Claim | None]:
    """Return for each operation the claim on it, or None where there is nothing to do."""
    with shared_by(operation_ids, "claim webhooks"), unit_of_work(system=True) as work:
        claims = deliveries.claim(work.session, operation_ids, lease=_target().total, now=work.now)
    # Of two jobs for one operation, one has it.
    return [claims.pop(operation_id, None) for operation_id in operation_ids]


def record_all(attempts: Sequence[deliveries.Attempted]) -> list[Operation | None]:
    """Write down what came of attempts; return each operation as it is then, or None if its connection is gone."""
    settings = extensions.settings()
    with shared_by([attempt.operation.id for attempt in attempts], "record webhooks"):
        if any(attempt.outcome.status_code and not attempt.outcome.receiver_down for attempt in attempts):
            breaker().found_up()
        with unit_of_work(tenants={attempt.operation.organization_id for attempt in attempts}) as work:
            known, changes = deliveries.record(
                work.session, attempts, waits=settings.waits, patience=settings.patience, now=work.now
            )
            work.after_commit(lambda: events.publish(changes))
    return [known.get(attempt.operation.id) for attempt in attempts]


def company() -> float:
    """Return how long a record may wait for others, in seconds: while some are on their way, and no job for a thread.

    Celery counts what is under way as reserved, too.
    """
    under_way = len(active_requests)
    queued = len(reserved_requests) - under_way
    return LINGER if under_way > 1 and queued * 2 < under_way else 0.0


take = Together(claim_all)
record = Together(record_all, linger=company)


@contextmanager
def shared_by(operation_ids: Sequence[UUID], name: str) -> Iterator[None]:
    """Let neither a log line nor a span of what is done for several operations name the one whose thread does it."""
    if len(operation_ids) == 1:
        yield
        return
    own = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()
    try:
        with tracing.apart(name, *operation_ids):
            yield
    finally:
        structlog.contextvars.bind_contextvars(**own)
