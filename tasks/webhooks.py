"""Deliver one operation's webhook: claim, post, record. The schedule of attempts lives in PostgreSQL, not here.

Claims and records of the threads of one worker that fall together are made together, and a record waits a moment for
others that are on their way: see `tasks/group_commit.py`.
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

from app import extensions, metrics, tracing
from app.domain import retry
from app.domain.aggregate import Operation
from app.jobs import DELIVER_WEBHOOK_TASK
from app.outbound import events, webhook
from app.outbound.circuit_breaker import current_circuit_breaker
from app.outbound.credential_store import current_credential_store
from app.outbound.encryption import DecryptionRefused
from app.services import deliveries
from app.unit_of_work import unit_of_work
from tasks.celery import app
from tasks.group_commit import GroupCommit
from tasks.organization_limits import PerOwnerConcurrencyLimit

log = structlog.get_logger()

# How long a record waits for others, in seconds: what a person does not see.
RECORD_BATCHING_DELAY_SECONDS = 0.05


# What one organization may have under way in one worker, of either kind: each of its sources as a rule.
MAX_DELIVERIES_PER_ORGANIZATION = 4
organization_limit = PerOwnerConcurrencyLimit(MAX_DELIVERIES_PER_ORGANIZATION)


@app.task(name=DELIVER_WEBHOOK_TASK, shared=False)
def deliver_webhook(
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
    limit_key = (str(kind), str(organization_id or operation_id))
    if not organization_limit.try_start_or_queue(limit_key, first):
        log.debug("webhook_awaits_its_share", operation_id=operation_id)
        return
    next_operation_id: UUID | None = first
    try:
        while next_operation_id is not None:
            _deliver_one(next_operation_id, organization_id=str(organization_id or ""))
            next_operation_id = organization_limit.take_next_or_release(limit_key)
    finally:
        if next_operation_id is not None:
            organization_limit.release(limit_key)


def _deliver_one(operation_id: UUID, *, organization_id: str) -> None:
    structlog.contextvars.unbind_contextvars("request_id", "organization_id", "connection_id")
    structlog.contextvars.bind_contextvars(operation_id=str(operation_id))
    if (delay := current_circuit_breaker().time_until_attempt_allowed(organization_id)) is not None:
        _defer_delivery(operation_id, delay)
        return
    claim = claim_operation(operation_id)
    if claim is None:
        log.debug("webhook_not_due")
        return
    operation = claim.operation
    structlog.contextvars.bind_contextvars(
        request_id=operation.request_id,
        organization_id=str(operation.organization_id),
        connection_id=str(operation.connection_id),
    )
    with tracing.trace_operation_step(operation.id, "deliver webhook", **{"rita.attempt": operation.attempts}):
        _record_outcome(operation, _post_webhook(claim))


def _record_outcome(operation: Operation, outcome: retry.AttemptOutcome) -> None:
    """Tell the breaker, the metrics, the log and the database what came of an attempt."""
    # A probe that finds what was known takes nothing from the operation.
    whose = str(operation.organization_id)
    spends = not (outcome.service_down and current_circuit_breaker().record_failure(whose))
    metrics.count_webhook_attempt(operation.kind, outcome)
    log.info(
        "webhook_attempted",
        kind=operation.kind,
        attempt=operation.attempts,
        verdict=outcome.verdict,
        status_code=outcome.status_code,
        error=outcome.error,
        duration_ms=round(outcome.duration.total_seconds() * 1000),
    )
    known = record_attempt(deliveries.AttemptResult(operation, outcome, spends))
    if known is None:
        log.info("webhook_outcome_moot")
    if operation.kind == "verify" and (known is None or known.state != "pending"):
        current_credential_store().delete(operation.id)


def _defer_delivery(operation_id: UUID, delay: timedelta) -> None:
    with unit_of_work(all_tenants=True) as work:
        changes = deliveries.defer_while_service_down(work.session, operation_id, until=work.now + delay, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
    metrics.process_metrics().webhooks_deferred.inc()
    log.info("webhook_parked", seconds=delay.total_seconds())


def _post_webhook(claim: deliveries.ClaimedOperation) -> retry.AttemptOutcome:
    operation = claim.operation
    decrypted: dict[str, Any] | None = None
    if operation.kind == "verify":
        whose = {"organization_id": operation.organization_id, "connection_id": operation.connection_id}
        try:
            decrypted = current_credential_store().load(operation.id, **whose)
        except RedisError:
            return retry.outcome_of_failure(retry.AttemptFailure.CREDENTIALS_UNREACHABLE)
        except DecryptionRefused:
            return retry.outcome_of_failure(retry.AttemptFailure.CREDENTIALS_REFUSED)
        if decrypted is None:
            return retry.outcome_of_failure(retry.AttemptFailure.CREDENTIALS_GONE)
    body = webhook.webhook_body(operation, connection_type=claim.connection_type, decrypted=decrypted)
    with tracing.trace_span("POST", kind=SpanKind.CLIENT) as span:
        webhook_id, target = str(operation.id), _webhook_target()
        outcome = webhook.post_webhook(body, webhook_id=webhook_id, request_id=operation.request_id, target=target)
        # Never the address: it may be a secret.
        span.set_attributes({"rita.verdict": outcome.verdict, "http.response.status_code": outcome.status_code or 0})
    return outcome


def _webhook_target() -> webhook.WebhookTarget:
    return cast(webhook.WebhookTarget, current_app.extensions["webhook_target"])


def claim_operations(operation_ids: Sequence[UUID]) -> list[deliveries.ClaimedOperation | None]:
    """Return for each operation the claim on it, or None where there is nothing to do."""
    timeout = _webhook_target().total_timeout
    with trace_shared_step(operation_ids, "claim webhooks"), unit_of_work(all_tenants=True) as work:
        claims = deliveries.claim_due_operations(work.session, operation_ids, post_timeout=timeout, now=work.now)
    # Of two jobs for one operation, one has it.
    return [claims.pop(operation_id, None) for operation_id in operation_ids]


def record_attempts(results: Sequence[deliveries.AttemptResult]) -> list[Operation | None]:
    """Write down what came of attempts; return each operation as it is then, or None if its connection is gone."""
    settings = extensions.settings()
    with trace_shared_step([attempt.operation.id for attempt in results], "record webhooks"):
        if any(attempt.outcome.status_code and not attempt.outcome.service_down for attempt in results):
            current_circuit_breaker().record_success()
        with unit_of_work(tenant_ids={attempt.operation.organization_id for attempt in results}) as work:
            operations, changes = deliveries.record_attempt_results(
                work.session,
                results,
                retry_schedule_for=settings.webhook_retry_schedule,
                deadlines=settings.deadlines,
                now=work.now,
            )
            work.after_commit(lambda: events.publish_changes(changes))
    return [operations.get(attempt.operation.id) for attempt in results]


def record_batching_delay() -> float:
    """Return how long a record may wait for others, in seconds: while some are on their way, and no job for a thread.

    Celery counts what is under way as reserved, too.
    """
    running_count = len(active_requests)
    queued_count = len(reserved_requests) - running_count
    return RECORD_BATCHING_DELAY_SECONDS if running_count > 1 and queued_count * 2 < running_count else 0.0


claim_operation = GroupCommit(claim_operations)
record_attempt = GroupCommit(record_attempts, batching_delay=record_batching_delay)


@contextmanager
def trace_shared_step(operation_ids: Sequence[UUID], span_name: str) -> Iterator[None]:
    """Let neither a log line nor a span of what is done for several operations name the one whose thread does it."""
    if len(operation_ids) == 1:
        yield
        return
    own = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()
    try:
        with tracing.trace_shared_work(span_name, *operation_ids):
            yield
    finally:
        structlog.contextvars.bind_contextvars(**own)
