"""Delivering an operation's webhook, attempt by attempt, to a real receiver, with every row real."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from standardwebhooks import Webhook

from app.config import Settings
from app.outbound.credential_store import REDIS_KEY_PREFIX, CredentialStore
from tests.integration.tasks.conftest import Desk, Sql
from tests.receiver import Receiver, answer
from tests.waiting import eventually

DELIVER = "webhooks.deliver"
Run = Callable[..., None]


def a_redis_that_is_away() -> Redis:
    return Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


def a_moment_ago() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=1)


def test_a_delivery_is_retried_until_the_service_takes_it(
    desk: Desk, beat: Callable[[], None], receiver: Receiver
) -> None:
    receiver.script.extend([answer(500), answer(503)])
    operation_id = desk.sync()

    def taken() -> bool:
        beat()
        return bool(desk.operation(operation_id)["state"] == "delivered")

    eventually(taken)

    operation = desk.operation(operation_id)
    assert operation["attempts"] == 3
    assert [(e["attempt"], e["status_code"], e["verdict"]) for e in operation["attempt_log"]] == [
        (1, 500, "retry"),
        (2, 503, "retry"),
        (3, 200, "done"),
    ]
    assert operation["last_status_code"] == 200
    assert operation["last_attempt_error"] is None
    assert operation["delivered_at"] is not None
    assert operation["next_attempt_at"] is None
    assert desk.connection(operation_id)["status"] == "syncing"


def test_every_attempt_says_the_same_under_the_same_id(
    desk: Desk, beat: Callable[[], None], receiver: Receiver, settings: Settings
) -> None:
    receiver.script.extend([answer(500), answer(503)])
    operation_id = desk.sync()

    def taken() -> bool:
        beat()
        return len(receiver.received) == 3

    eventually(taken)

    assert len({received.body for received in receiver.received}) == 1
    assert {received.headers["webhook-id"] for received in receiver.received} == {operation_id}
    assert receiver.received[2].json["config"] == {"region": "eu"}
    for received in receiver.received:
        assert received.headers["authorization"] == settings.automation_auth
        assert received.headers["x-request-id"] == desk.operation(operation_id)["request_id"]
        assert Webhook(settings.webhook_signing_secret[0]).verify(received.body, received.headers)


def test_a_delivered_verification_brought_its_credentials_and_left_none(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis
) -> None:
    operation_id = desk.verify()

    run(DELIVER, operation_id)

    (received,) = receiver.received
    assert received.json["credentials"] == {"api_token": "hunter2"}
    assert received.json["settings"] == {"spaces": "ENG"}
    assert desk.operation(operation_id)["state"] == "delivered"
    assert not redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")
    assert "hunter2" not in str(desk.operation(operation_id))


def test_an_attempt_that_fails_is_pushed_with_the_next_one_and_not_audited(
    desk: Desk, run: Run, receiver: Receiver, sql: Sql, pushed: Callable[[], dict[str, Any]]
) -> None:
    receiver.otherwise = answer(503)
    operation_id = desk.sync()
    desk.turn(operation_id, next_attempt_at=a_moment_ago())

    run(DELIVER, operation_id)

    event, operation = pushed(), desk.operation(operation_id)
    assert (event["change"], event["status"]) == ("sync.delayed", "syncing")
    assert event["operation"]["id"] == operation_id
    assert (event["operation"]["attempts"], event["operation"]["last_status_code"]) == (1, 503)
    assert datetime.fromisoformat(event["operation"]["next_attempt_at"]) == operation["next_attempt_at"]
    assert not sql("SELECT 1 FROM audit_logs WHERE operation_id = %(id)s AND action = 'sync.delayed'", id=operation_id)


def test_a_verification_that_is_given_up_says_why_and_leaves_no_credentials(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis, pushed: Callable[[], dict[str, Any]]
) -> None:
    receiver.otherwise = answer(503)
    operation_id = desk.verify()

    for _ in range(3):
        desk.turn(operation_id, next_attempt_at=a_moment_ago())
        assert redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")
        run(DELIVER, operation_id)

    connection = desk.connection(operation_id)
    assert desk.operation(operation_id)["state"] == "undelivered"
    assert (connection["status"], connection["last_sync_status"]) == ("idle", None)
    assert connection["last_verification_error"].endswith("(HTTP 503); given up after 3 attempts")
    assert not redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")
    assert (pushed()["status"], pushed()["last_verification_error"]) == ("idle", connection["last_verification_error"])
    assert len(receiver.received) == 3


def test_a_sync_that_is_given_up_is_a_failed_sync(
    desk: Desk, run: Run, receiver: Receiver, pushed: Callable[[], dict[str, Any]]
) -> None:
    receiver.otherwise = answer(503)
    operation_id = desk.sync()
    pressed_at = desk.connection(operation_id)["last_sync_at"]

    for _ in range(4):
        desk.turn(operation_id, next_attempt_at=a_moment_ago())
        run(DELIVER, operation_id)

    connection = desk.connection(operation_id)
    assert (connection["status"], connection["last_sync_status"]) == ("idle", "failed")
    assert connection["last_sync_error"].endswith("given up after 4 attempts")
    assert connection["last_sync_at"] > pressed_at
    assert (pushed()["status"], pushed()["last_sync_status"]) == ("idle", "failed")


@pytest.mark.parametrize(("press", "status"), [("sync", "syncing"), ("verify", "verifying")])
def test_a_delivery_that_is_given_up_is_audited(
    desk: Desk, run: Run, receiver: Receiver, sql: Sql, press: str, status: str
) -> None:
    receiver.otherwise = answer(401)
    operation_id = getattr(desk, press)()

    run(DELIVER, operation_id)

    (audited,) = sql("SELECT * FROM audit_logs WHERE action = %(action)s", action=f"{press}.undelivered")
    assert (audited["actor_type"], str(audited["operation_id"])) == ("system", operation_id)
    assert audited["changes"]["status"] == [status, "idle"]


def test_a_final_answer_ends_it_at_once(desk: Desk, run: Run, receiver: Receiver) -> None:
    receiver.otherwise = answer(401)
    operation_id = desk.sync()

    run(DELIVER, operation_id)
    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "undelivered"
    assert desk.connection(operation_id)["last_sync_error"].endswith("(HTTP 401); given up after 1 attempt")
    assert len(receiver.received) == 1


def test_the_next_attempt_waits_as_long_as_the_service_asks_but_not_longer_than_the_longest_wait(
    desk: Desk, run: Run, receiver: Receiver, settings: Settings
) -> None:
    receiver.otherwise = answer(429, headers={"Retry-After": "3600"})
    operation_id = desk.sync()
    before = datetime.now(UTC)

    run(DELIVER, operation_id)

    wait = desk.operation(operation_id)["next_attempt_at"] - before
    longest = max(settings.sync_retry_seconds)
    assert longest <= wait < longest * 1.1 + timedelta(seconds=5)


def test_an_attempt_that_is_not_due_is_not_made(desk: Desk, run: Run, receiver: Receiver) -> None:
    operation_id = desk.sync()
    desk.turn(operation_id, next_attempt_at=datetime.now(UTC) + timedelta(minutes=1))

    run(DELIVER, operation_id)

    assert receiver.received == []
    assert desk.operation(operation_id)["attempts"] == 0


@pytest.mark.parametrize("state", ["delivered", "running", "succeeded", "expired", "replaced"])
def test_a_job_that_comes_too_late_does_nothing(desk: Desk, run: Run, receiver: Receiver, state: str) -> None:
    operation_id = desk.sync()
    desk.turn(operation_id, state=state)

    run(DELIVER, operation_id)

    assert receiver.received == []


def test_an_operation_past_its_deadline_is_not_posted_any_more(desk: Desk, run: Run, receiver: Receiver) -> None:
    operation_id = desk.verify()
    desk.turn(operation_id, deadline_at=a_moment_ago())

    run(DELIVER, operation_id)

    assert receiver.received == []


def test_a_job_for_an_operation_that_is_not_there_does_nothing(run: Run, receiver: Receiver, desk: Desk) -> None:
    run(DELIVER, "00000000-0000-7000-8000-000000000000")

    assert receiver.received == []
    assert desk.browser.organization_id


def test_credentials_that_are_gone_end_the_verification_without_a_post(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis
) -> None:
    operation_id = desk.verify()
    redis.delete(f"{REDIS_KEY_PREFIX}{operation_id}")

    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "undelivered"
    assert "enter them again" in desk.connection(operation_id)["last_verification_error"]
    assert receiver.received == []


def test_credentials_that_cannot_be_reached_are_waited_for(
    desk: Desk, run: Run, receiver: Receiver, tasks_app: Flask, settings: Settings
) -> None:
    operation_id = desk.verify()

    with pytest.MonkeyPatch.context() as broken, a_redis_that_is_away() as away:
        broken.setitem(tasks_app.extensions, "credential_store", CredentialStore(away, keys=settings.seal_keys))
        run(DELIVER, operation_id)

    operation = desk.operation(operation_id)
    assert (operation["state"], operation["attempts"]) == ("pending", 1)
    assert operation["last_attempt_error"] == "The sealed credentials could not be read"
    assert receiver.received == []
    desk.turn(operation_id, next_attempt_at=a_moment_ago())
    run(DELIVER, operation_id)
    assert desk.operation(operation_id)["state"] == "delivered"
