"""What happens at the same time as a delivery: other deliveries, answers, deletions, and the death of a worker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import make_url

from app.config import Settings
from app.outbound.credential_store import REDIS_KEY_PREFIX
from app.services import deliveries
from app.unit_of_work import unit_of_work
from tests.factories import a_sync_message, apply_messages, in_parallel
from tests.integration.tasks.conftest import Desk, Job
from tests.receiver import Behaviour, Receiver, answer
from tests.waiting import eventually

DELIVER = "webhooks.deliver"
LEASE = timedelta(seconds=12)
Run = Callable[..., None]


def meanwhile(happens: Callable[[], object], then: Behaviour) -> Behaviour:
    """Let something happen while the POST is under way, then answer."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        happens()
        then(handler)

    return behave


def claim(web: Flask, operation_id: str) -> None:
    """Take an operation as a worker does that dies before its POST."""
    with web.app_context(), unit_of_work(all_tenants=True) as work:
        assert deliveries.claim_due_operations(
            work.session, [UUID(operation_id)], post_timeout=LEASE, now=datetime.now(UTC)
        )


def busy_sessions(admin_url: str, settings: Settings) -> list[str]:
    """Return what the application's role does in the database just now, beside nothing."""
    role = make_url(settings.database_url).username
    with closing(psycopg2.connect(admin_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state, wait_event_type FROM pg_stat_activity WHERE usename = %s", [role])
        return [f"{state} {waits_for}" for state, waits_for in cursor.fetchall() if state != "idle"]


def test_of_many_deliveries_at_once_one_posts(desk: Desk, run: Run, receiver: Receiver) -> None:
    operation_id = desk.sync()

    in_parallel(5, lambda _: run(DELIVER, operation_id))

    assert len(receiver.received) == 1
    assert desk.operation(operation_id)["attempts"] == 1
    assert len(desk.operation(operation_id)["attempt_log"]) == 1


def test_no_transaction_is_open_during_the_post(
    desk: Desk, run: Run, receiver: Receiver, admin_database_url: str, settings: Settings
) -> None:
    seen: list[list[str]] = []
    receiver.otherwise = meanwhile(lambda: seen.append(busy_sessions(admin_database_url, settings)), answer(200))

    for operation_id in (desk.sync(), desk.verify()):
        run(DELIVER, operation_id)

    assert seen == [[], []]


def test_an_open_transaction_would_be_seen_by_the_test_above(
    web: Flask, admin_database_url: str, settings: Settings
) -> None:
    with web.app_context(), unit_of_work(all_tenants=True) as work:
        deliveries.take_due_operations(work.session, now=datetime.now(UTC))

        assert busy_sessions(admin_database_url, settings) == ["idle in transaction Client"]


@pytest.mark.parametrize("status", [200, 401, 500])
def test_an_answer_that_overtakes_the_record_of_its_delivery_stays(
    desk: Desk, run: Run, receiver: Receiver, web: Flask, status: int
) -> None:
    operation_id = desk.sync()
    connection = desk.browser.connection("websearch")
    message = a_sync_message(connection, "sync_completed", operation_id=operation_id, documents_processed=3)
    receiver.otherwise = meanwhile(lambda: apply_messages(web, message), answer(status))

    run(DELIVER, operation_id)

    operation, row = desk.operation(operation_id), desk.connection(operation_id)
    assert (operation["state"], operation["documents_processed"]) == ("succeeded", 3)
    assert (operation["error"], operation["next_attempt_at"], operation["claimed_until"]) == (None, None, None)
    assert [entry["status_code"] for entry in operation["attempt_log"]] == [status]
    assert (row["status"], row["last_sync_status"], row["last_sync_error"]) == ("idle", "completed", None)


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_start_that_overtakes_the_record_of_its_delivery_stays(
    desk: Desk, run: Run, receiver: Receiver, web: Flask, status: int
) -> None:
    operation_id = desk.sync()
    message = a_sync_message(desk.browser.connection("websearch"), "sync_started", operation_id=operation_id)
    receiver.otherwise = meanwhile(lambda: apply_messages(web, message), answer(status))

    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "running"
    assert desk.connection(operation_id)["status"] == "syncing"


def test_what_a_worker_took_and_died_with_is_found_again_when_its_lease_ends(
    desk: Desk, run: Run, receiver: Receiver, web: Flask, take_jobs: Callable[[], list[Job]]
) -> None:
    operation_id = desk.sync()
    take_jobs()
    claim(web, operation_id)
    desk.turn(operation_id, queued_until=None)

    run("housekeeping.dispatch")
    run(DELIVER, operation_id)
    while_it_is_leased = (take_jobs(), list(receiver.received))
    desk.turn(operation_id, claimed_until=datetime.now(UTC) - timedelta(seconds=1))
    run("housekeeping.dispatch")
    jobs = take_jobs()
    run(*jobs[0][:1], *jobs[0][1])

    assert while_it_is_leased == ([], [])
    assert jobs == [(DELIVER, [operation_id])]
    assert len(receiver.received) == 1
    assert (desk.operation(operation_id)["state"], desk.operation(operation_id)["attempts"]) == ("delivered", 2)


def test_a_lease_outlives_the_longest_post(desk: Desk, web: Flask, settings: Settings) -> None:
    operation_id = desk.sync()

    claim(web, operation_id)

    lease = desk.operation(operation_id)["claimed_until"] - datetime.now(UTC)
    assert lease > settings.webhook_total_seconds + timedelta(seconds=10)


def test_a_connection_deleted_during_the_post_ends_in_peace_and_leaves_no_credentials(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis
) -> None:
    jira = desk.browser.post("/api/data-sources", {"type": "jira"}).json["data"]["id"]
    path = f"/api/data-sources/{jira}"
    operation_id = desk.browser.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]
    receiver.otherwise = meanwhile(lambda: desk.browser.delete(path), answer(200))

    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "replaced"
    assert len(receiver.received) == 1
    assert not redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")


def test_a_report_that_is_applied_while_an_operation_is_claimed_does_not_undo_the_claim(
    desk: Desk, web: Flask, admin_database_url: str, settings: Settings
) -> None:
    operation_id = desk.sync()
    late_start = a_sync_message(desk.browser.connection("websearch"), "sync_started")

    def applying_waits_for_the_claim() -> bool:
        return any("Lock" in session for session in busy_sessions(admin_database_url, settings))

    with ThreadPoolExecutor(1) as thread:
        with web.app_context(), unit_of_work(all_tenants=True) as work:
            deliveries.claim_due_operations(
                work.session, [UUID(operation_id)], post_timeout=LEASE, now=datetime.now(UTC)
            )
            applied: Any = thread.submit(apply_messages, web, late_start)
            eventually(lambda: applied.done() or applying_waits_for_the_claim())
        applied.result(timeout=10)

    operation = desk.operation(operation_id)
    assert operation["attempts"] == 1
    assert operation["claimed_until"] is not None
