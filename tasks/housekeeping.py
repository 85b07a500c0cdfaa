"""What beat asks for: send what is due, end what is overdue, forget what is old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import cast
from uuid import UUID

import structlog
from flask import current_app

from app import extensions
from app.domain.cases import ended_verifications
from app.extensions import Session
from app.jobs import Jobs
from app.outbound import clocks, events, sweeps
from app.outbound.sealing import seals
from app.services import deliveries, operations, retention
from app.unit_of_work import database_time, unit_of_work
from tasks import schedule
from tasks.celery import app

log = structlog.get_logger()


@app.task(name=schedule.DISPATCH, shared=False, send_events=False)
def dispatch(*, said_at: object = None, **_of_a_later_release: object) -> None:
    """Send a job for every operation that is due and has none; a lost job is found here.

    One that has only waited long may well be in a long queue: it is looked at again when its new mark has run out.
    `said_at` is beat's clock when it asked for this, in seconds since 1970.
    """
    now = database_time()
    _dispatch()
    redis = extensions.redis()
    sweeps.note(redis, sweeps.DISPATCH)
    clocks.note_of_beat(redis, said_at, now=now)
    clocks.note(redis, "webhook_worker", now=database_time())


def _dispatch() -> None:
    now = database_time()
    with unit_of_work(system=True) as work:
        due = deliveries.take_due(work.session, now=now)
    if not due:
        return
    sent, unsent = cast(Jobs, current_app.extensions["jobs"]).deliver_webhooks(due.unsent, overdue=due.overdue)
    if unsent:
        with unit_of_work(system=True) as work:
            deliveries.release(work.session, [delivery.operation_id for delivery in unsent])
    log.info("operations_dispatched", sent=len(sent), unsent=len(unsent))


@app.task(name=schedule.EXPIRE, shared=False, send_events=False)
def expire(**_of_a_later_release: object) -> None:
    """End every operation that has waited longer than its deadline, and tell its organization."""
    _expire()
    sweeps.note(extensions.redis(), sweeps.EXPIRE)


def _expire() -> None:
    now = database_time()
    with unit_of_work(system=True) as work:
        overdue: list[UUID] = operations.find_overdue(work.session, now=now)
    if not overdue:
        return
    with unit_of_work(system=True) as work:
        changes = operations.expire(work.session, overdue, now=work.now)
        work.after_commit(lambda: events.publish(changes))
        work.after_commit(lambda: seals().discard(*ended_verifications(changes)))
    for change in changes:
        log.warning(
            "operation_expired",
            operation_id=change.operation and str(change.operation.id),
            connection_id=str(change.connection.id),
            organization_id=str(change.connection.organization_id),
            error=change.operation and change.operation.error,
        )


@app.task(name=schedule.PURGE, shared=False)
def purge(**_of_a_later_release: object) -> None:
    """Delete history and audit rows past their retention, a short transaction for each batch."""
    settings = extensions.settings()
    with unit_of_work(system=True) as work:
        now = work.now
    operations_before = now - timedelta(days=settings.operation_retention_days)
    audit_before = now - timedelta(days=settings.audit_retention_days)
    purged = _in_batches(lambda session: retention.purge_operations(session, before=operations_before))
    forgotten = _in_batches(lambda session: retention.purge_audit(session, before=audit_before))
    log.info("history_purged", operations=purged, audit_logs=forgotten)


def _in_batches(purge_one: Callable[[Session], int]) -> int:
    total = 0
    while True:
        with unit_of_work(system=True) as work:
            count = purge_one(work.session)
        total += count
        if count < retention.BATCH:
            return total
