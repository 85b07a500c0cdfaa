"""What beat asks for: send what is due, end what is overdue, forget what is old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import cast
from uuid import UUID

import structlog
from flask import current_app

from app import extensions
from app.domain.aggregate import ended_verification_ids
from app.extensions import Session
from app.jobs import JobSender
from app.outbound import clock_offsets, events, sweep_times
from app.outbound.credential_store import current_credential_store
from app.services import deliveries, operations, retention
from app.unit_of_work import database_time, unit_of_work
from tasks import beat_schedule
from tasks.celery import app

log = structlog.get_logger()


@app.task(name=beat_schedule.DISPATCH_TASK, shared=False, send_events=False)
def dispatch_due_operations(*, said_at: object = None, **_of_a_later_release: object) -> None:
    """Send a job for every operation that is due and has none; a lost job is found here.

    One that has only waited long may well be in a long queue: it is looked at again when its new mark has run out.
    `said_at` is beat's clock when it asked for this, in seconds since 1970.
    """
    now = database_time()
    _send_due_jobs()
    redis = extensions.redis()
    sweep_times.record_sweep(redis, sweep_times.DISPATCH_SWEEP)
    clock_offsets.record_beat_clock_offset(redis, said_at, database_time=now)
    clock_offsets.record_host_clock_offset(redis, "webhook_worker", database_time=database_time())


def _send_due_jobs() -> None:
    now = database_time()
    with unit_of_work(all_tenants=True) as work:
        due = deliveries.take_due_operations(work.session, now=now)
    if not due:
        return
    sender = cast(JobSender, current_app.extensions["job_sender"])
    sent, unsent = sender.send_delivery_jobs_confirmed(due.without_job, overdue=due.job_overdue)
    if unsent:
        with unit_of_work(all_tenants=True) as work:
            deliveries.clear_job_marks(work.session, [delivery.operation_id for delivery in unsent])
    log.info("operations_dispatched", sent=len(sent), unsent=len(unsent))


@app.task(name=beat_schedule.EXPIRE_TASK, shared=False, send_events=False)
def expire_overdue_operations(**_of_a_later_release: object) -> None:
    """End every operation that has waited longer than its deadline, and tell its organization."""
    _expire_overdue()
    sweep_times.record_sweep(extensions.redis(), sweep_times.EXPIRE_SWEEP)


def _expire_overdue() -> None:
    now = database_time()
    with unit_of_work(all_tenants=True) as work:
        overdue: list[UUID] = operations.find_connections_with_overdue_operations(work.session, now=now)
    if not overdue:
        return
    with unit_of_work(all_tenants=True) as work:
        changes = operations.expire_overdue_operations(work.session, overdue, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
        work.after_commit(lambda: current_credential_store().delete(*ended_verification_ids(changes)))
    for change in changes:
        log.warning(
            "operation_expired",
            operation_id=change.operation and str(change.operation.id),
            connection_id=str(change.connection.id),
            organization_id=str(change.connection.organization_id),
            error=change.operation and change.operation.error,
        )


@app.task(name=beat_schedule.PURGE_TASK, shared=False)
def purge_old_history(**_of_a_later_release: object) -> None:
    """Delete history and audit rows past their retention, a short transaction for each batch."""
    settings = extensions.settings()
    with unit_of_work(all_tenants=True) as work:
        now = work.now
    operations_before = now - timedelta(days=settings.operation_retention_days)
    audit_before = now - timedelta(days=settings.audit_retention_days)
    purged = _purge_in_batches(lambda session: retention.purge_operations(session, before=operations_before))
    forgotten = _purge_in_batches(lambda session: retention.purge_audit_rows(session, before=audit_before))
    log.info("history_purged", operations=purged, audit_logs=forgotten)


def _purge_in_batches(purge_one_batch: Callable[[Session], int]) -> int:
    total = 0
    while True:
        with unit_of_work(all_tenants=True) as work:
            count = purge_one_batch(work.session)
        total += count
        if count < retention.PURGE_BATCH_SIZE:
            return total
