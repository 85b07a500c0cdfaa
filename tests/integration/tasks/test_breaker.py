"""A receiver that is down: one probe at a time, and what else is due waits without spending an attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from app.domain.retry import SYNC_RETRY_SCHEDULE
from app.outbound.circuit_breaker import REDIS_KEY_PREFIX, CircuitBreaker
from app.outbound.events import channel_of_organization
from app.services.deliveries import SERVICE_DOWN_MESSAGE
from tests.integration.tasks.conftest import Desk
from tests.receiver import Receiver, answer
from tests.waiting import eventually

DELIVER = "webhooks.deliver"
FAILURES = 3
PROBE = timedelta(seconds=1)
Run = Callable[..., None]


@pytest.fixture(autouse=True)
def breaker(tasks_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[CircuitBreaker]:
    """A breaker that opens soon, in place of the one that the tests' settings keep closed."""
    redis = tasks_app.extensions["redis"]
    made = CircuitBreaker(redis, failure_threshold=FAILURES, probe_interval=PROBE)
    monkeypatch.setitem(tasks_app.extensions, "circuit_breaker", made)
    yield made
    for key in redis.scan_iter(f"{REDIS_KEY_PREFIX}*"):
        redis.delete(key)


def a_receiver_found_down(desk: Desk, run: Run, receiver: Receiver) -> None:
    """Let attempts of other operations find the receiver down, and one probe more."""
    receiver.otherwise = answer(503)
    for _ in range(FAILURES + 1):
        run(DELIVER, desk.another().sync())
    receiver.received.clear()


def run_again(desk: Desk, run: Run, operation_id: str) -> None:
    """Let an operation's next attempt be due, and its task run."""
    desk.turn(operation_id, next_attempt_at=datetime.now(UTC))
    run(DELIVER, operation_id)


def test_what_is_due_waits_without_spending_an_attempt_and_says_why(desk: Desk, run: Run, receiver: Receiver) -> None:
    a_receiver_found_down(desk, run, receiver)
    operation_id, before = desk.verify(), datetime.now(UTC)

    run(DELIVER, operation_id)

    operation = desk.operation(operation_id)
    assert receiver.received == []
    assert (operation["state"], operation["attempts"], operation["attempt_log"]) == ("pending", 0, [])
    assert operation["last_attempt_error"] == SERVICE_DOWN_MESSAGE
    assert before < operation["next_attempt_at"] < before + 2 * PROBE
    assert operation["queued_until"] is None


def test_a_probe_that_finds_the_receiver_still_down_spends_no_attempt(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis
) -> None:
    a_receiver_found_down(desk, run, receiver)
    operation_id = desk.sync()
    probes = 2 * (len(SYNC_RETRY_SCHEDULE) + 1)

    for _ in range(probes):
        redis.delete(f"{REDIS_KEY_PREFIX}probe")
        run_again(desk, run, operation_id)

    operation = desk.operation(operation_id)
    assert len(receiver.received) == probes
    assert (operation["state"], operation["attempts"]) == ("pending", 1)
    assert [entry["status_code"] for entry in operation["attempt_log"]] == [503] * probes


def test_who_waits_for_the_receiver_is_told_once(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis, pushed: Callable[[], dict[str, Any]]
) -> None:
    a_receiver_found_down(desk, run, receiver)
    # However long this takes, no other probe is due.
    redis.set(f"{REDIS_KEY_PREFIX}probe", "1", px=600_000)
    operation_id = desk.sync()

    for _ in range(3):
        run_again(desk, run, operation_id)

    told = pushed()
    assert (told["change"], told["operation_id"], told["status"]) == ("sync.delayed", operation_id, "syncing")
    assert told["operation"]["last_attempt_error"] == SERVICE_DOWN_MESSAGE
    assert SERVICE_DOWN_MESSAGE in told["display"]["reason"]
    changes = [
        json.loads(data[b"data"])["change"]
        for _, data in redis.xrange(f"{channel_of_organization(desk.browser.organization_id)}:events")
    ]
    assert changes.count("sync.delayed") == 1


def test_an_outage_longer_than_all_retries_ends_in_a_delivery_once_the_receiver_is_back(
    desk: Desk, run: Run, beat: Callable[[], None], receiver: Receiver
) -> None:
    a_receiver_found_down(desk, run, receiver)
    operation_id = desk.sync()
    for _ in range(20):
        run_again(desk, run, operation_id)
    spent = desk.operation(operation_id)["attempts"]
    receiver.otherwise = answer(200)

    def delivered() -> bool:
        beat()
        return bool(desk.operation(operation_id)["state"] == "delivered")

    eventually(delivered)

    assert spent <= 2, "only a probe may spend an attempt"
    assert desk.connection(operation_id)["status"] == "syncing"


def test_an_answer_of_any_kind_closes_the_circuit(
    desk: Desk, run: Run, receiver: Receiver, breaker: CircuitBreaker
) -> None:
    a_receiver_found_down(desk, run, receiver)
    receiver.otherwise = answer(401)
    refused = desk.sync()

    def probed() -> bool:
        desk.turn(refused, next_attempt_at=datetime.now(UTC))
        run(DELIVER, refused)
        return bool(receiver.received)

    eventually(probed)

    assert desk.operation(refused)["state"] == "undelivered"
    assert [breaker.time_until_attempt_allowed() for _ in range(3)] == [None] * 3


def test_an_organization_whose_requests_alone_fail_has_not_the_probe_of_another(
    desk: Desk, run: Run, receiver: Receiver, redis: Redis
) -> None:
    receiver.otherwise = answer(500)
    for _ in range(FAILURES):
        run(DELIVER, desk.another().sync())
    # However long this takes, those who have failed have had theirs.
    redis.set(f"{REDIS_KEY_PREFIX}probe", "1", px=600_000)
    receiver.otherwise = answer(200)
    operation_id = desk.verify()

    run(DELIVER, operation_id, "verify", str(desk.browser.organization_id))

    assert desk.operation(operation_id)["state"] == "delivered"


def test_a_request_that_waits_for_the_receiver_still_ends_at_its_deadline(
    desk: Desk, run: Run, receiver: Receiver
) -> None:
    a_receiver_found_down(desk, run, receiver)
    operation_id = desk.verify()
    run(DELIVER, operation_id)

    desk.turn(operation_id, deadline_at=datetime.now(UTC) - PROBE)
    run("housekeeping.expire")

    assert desk.operation(operation_id)["state"] == "expired"
    assert "could not be delivered" in desk.connection(operation_id)["last_verification_error"]
