"""Deliver one operation's webhook: claim, post, record. The schedule of attempts lives in PostgreSQL, not here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import structlog
from flask import current_app
from opentelemetry.trace import SpanKind
from redis.exceptions import RedisError

from app import errors, extensions, figures, tracing
from app.domain import retry
from app.domain.cases import Operation
from app.jobs import DELIVER_WEBHOOK
from app.outbound import events, webhook
from app.outbound.breaker import breaker
from app.outbound.sealing import seals
from app.services import deliveries
from app.unit_of_work import unit_of_work
from tasks.celery import app

log = structlog.get_logger()


@app.task(name=DELIVER_WEBHOOK, shared=False)
def deliver(operation_id: str, **_of_a_later_release: object) -> None:
    """Make the attempt that is due, if it still is; any number of these tasks for one operation do no harm."""
    structlog.contextvars.bind_contextvars(operation_id=operation_id)
    target = cast(webhook.Target, current_app.extensions["webhook_target"])
    if (pause := breaker().pause()) is not None:
        _park(UUID(operation_id), pause)
        return
    with unit_of_work(system=True) as work:
        claim = deliveries.claim(work.session, UUID(operation_id), lease=target.total, now=datetime.now(UTC))
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
        outcome = _attempt(claim, target)
        _settle(operation, outcome)


def _settle(operation: Operation, outcome: retry.Outcome) -> None:
    """Tell the breaker, the figures, the log and the database what came of an attempt."""
    was_known_down = _tell_breaker(outcome)
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
    _record(operation, outcome, spends=not was_known_down)


def _park(operation_id: UUID, pause: timedelta) -> None:
    now = datetime.now(UTC)
    with unit_of_work(system=True) as work:
        changes = deliveries.park(work.session, operation_id, until=now + pause, now=now)
        work.after_commit(lambda: events.publish(changes))
    figures.webhook_parked()
    log.info("webhook_parked", seconds=pause.total_seconds())


def _tell_breaker(outcome: retry.Outcome) -> bool:
    """Tell the breaker; return whether it knew already that the receiver is down."""
    if outcome.receiver_down:
        return breaker().found_down()
    if outcome.status_code is not None:
        breaker().found_up()
    return False


def _attempt(claim: deliveries.Claim, target: webhook.Target) -> retry.Outcome:
    operation = claim.operation
    sealed: dict[str, Any] | None = None
    if operation.kind == "verify":
        try:
            sealed = seals().open(operation.id)
        except RedisError:
            return retry.from_failure(retry.Failure.CREDENTIALS_UNREACHABLE)
        if sealed is None:
            return retry.from_failure(retry.Failure.CREDENTIALS_GONE)
    body = webhook.body_of(operation, connection_type=claim.connection_type, sealed=sealed)
    with tracing.work("POST", kind=SpanKind.CLIENT) as span:
        outcome = webhook.post(body, webhook_id=str(operation.id), request_id=operation.request_id, target=target)
        # Never the address: it may be a secret.
        span.set_attributes({"rita.verdict": outcome.verdict, "http.response.status_code": outcome.status_code or 0})
    return outcome


def _record(operation: Operation, outcome: retry.Outcome, *, spends: bool) -> None:
    settings = extensions.settings()
    try:
        with unit_of_work(tenants=[operation.organization_id]) as work:
            known, changes = deliveries.record_attempt(
                work.session,
                operation,
                outcome,
                waits=settings.waits(operation.kind),
                patience=settings.patience,
                spends=spends,
                now=datetime.now(UTC),
            )
            work.after_commit(lambda: events.publish(changes))
    except errors.NotFound:
        log.info("webhook_outcome_moot")
        seals().discard(operation.id)
        return
    if operation.kind == "verify" and known.state != "pending":
        seals().discard(operation.id)
