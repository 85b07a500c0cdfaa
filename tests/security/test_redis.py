"""Whoever can write Redis, without our keys: what lies there is believed for its own place only."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from redis import Redis

from app import metrics
from app.api import rate_limits
from app.outbound import circuit_breaker, credential_store, events, stream_tickets, sweep_times
from tests.integration.tasks.conftest import Desk
from tests.receiver import Receiver

DELIVER = "webhooks.deliver"


def refused(value: str, reason: str) -> float:
    counter = metrics.process_metrics().registry.get_sample_value
    return counter("rita_redis_values_refused_total", {"value": value, "reason": reason}) or 0.0


def of_credentials(operation_id: str) -> str:
    return f"{credential_store.REDIS_KEY_PREFIX}{operation_id}"


def test_exchanged_credentials_reach_nobody(
    desk: Desk, run: Callable[..., None], receiver: Receiver, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = desk.verify(), desk.another().verify()
    lying = {name: redis.get(of_credentials(name)) for name in (first, second)}
    before = refused("credentials", "misplaced")

    redis.set(of_credentials(first), lying[second], px=60_000)
    redis.set(of_credentials(second), lying[first], px=60_000)
    run(DELIVER, first)
    run(DELIVER, second)

    assert receiver.received == []
    for operation_id in (first, second):
        assert desk.operation(operation_id)["state"] == "undelivered"
        assert "not what was entered" in desk.connection(operation_id)["last_verification_error"]
        assert not redis.exists(of_credentials(operation_id))
    assert refused("credentials", "misplaced") == before + 2
    assert [record.levelname for record in caplog.records if "seal_refused" in record.getMessage()] == ["ERROR"] * 2


def test_credentials_of_an_earlier_verification_of_the_same_connection_are_not_sent_again(
    desk: Desk, run: Callable[..., None], receiver: Receiver, redis: Redis
) -> None:
    earlier = desk.verify()
    kept = redis.get(of_credentials(earlier))
    desk.browser.post(f"/api/operations/{earlier}/end")
    later = desk.verify()

    redis.set(of_credentials(later), kept, px=60_000)
    run(DELIVER, later)

    assert desk.operation(later)["state"] == "undelivered"
    assert receiver.received == []


@pytest.mark.parametrize("written", [b"", b"words", b'{"credentials": {"api_token": "x"}}'], ids=["", "words", "json"])
def test_credentials_that_were_written_by_hand_are_not_sent(
    desk: Desk, run: Callable[..., None], receiver: Receiver, redis: Redis, written: bytes
) -> None:
    operation_id = desk.verify()
    before = refused("credentials", "unreadable")

    redis.set(of_credentials(operation_id), written, px=60_000)
    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "undelivered"
    assert receiver.received == []
    assert refused("credentials", "unreadable") == before + 1


def test_what_is_no_text_in_the_place_of_credentials_is_not_ours_either(
    desk: Desk, run: Callable[..., None], receiver: Receiver, redis: Redis
) -> None:
    operation_id = desk.verify()
    before = refused("credentials", "unreadable")

    redis.delete(of_credentials(operation_id))
    redis.rpush(of_credentials(operation_id), "x")
    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "undelivered"
    assert "not what was entered" in desk.connection(operation_id)["last_verification_error"]
    assert receiver.received == []
    assert refused("credentials", "unreadable") == before + 1
    assert not redis.exists(of_credentials(operation_id))


def opened(web: Flask, ticket: str) -> tuple[int, str]:
    answer = web.test_client().get("/api/sse", query_string={"ticket": ticket})
    return answer.status_code, answer.json["code"]


def ticket_key(redis: Redis, desk: Desk) -> tuple[str, str]:
    """Return a new ticket and where it lies."""
    before = set(redis.scan_iter(f"{stream_tickets.REDIS_KEY_PREFIX}*"))
    ticket = desk.browser.post("/api/sse/tickets").json["ticket"]
    (key,) = set(redis.scan_iter(f"{stream_tickets.REDIS_KEY_PREFIX}*")) - before
    return ticket, key.decode()


def test_a_ticket_that_was_written_by_hand_opens_nothing(web: Flask, desk: Desk, redis: Redis) -> None:
    victim, own = desk.another().browser, desk
    ticket, key = ticket_key(redis, own)
    identity = {
        "sub": str(victim.user_id),
        "email": "ada@example.org",
        "organization_id": str(victim.organization_id),
        "role": "owner",
        "exp": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    before = refused("ticket", "unreadable")

    redis.set(key, json.dumps(identity), px=60_000)

    assert opened(web, ticket) == (401, "invalid_ticket")
    assert refused("ticket", "unreadable") == before + 1


def test_what_is_no_text_in_a_tickets_place_opens_nothing(web: Flask, desk: Desk, redis: Redis) -> None:
    ticket, key = ticket_key(redis, desk)
    before = refused("ticket", "unreadable")

    redis.delete(key)
    redis.rpush(key, "x")

    assert opened(web, ticket) == (401, "invalid_ticket")
    assert refused("ticket", "unreadable") == before + 1
    redis.delete(key)


def test_another_tickets_content_opens_nothing_under_ones_own(web: Flask, desk: Desk, redis: Redis) -> None:
    _, of_victim = ticket_key(redis, desk.another())
    ticket, key = ticket_key(redis, desk)
    before = refused("ticket", "misplaced")

    redis.rename(of_victim, key)

    assert opened(web, ticket) == (401, "invalid_ticket")
    assert refused("ticket", "misplaced") == before + 1


def test_credentials_do_not_pass_for_a_ticket(web: Flask, desk: Desk, redis: Redis) -> None:
    operation_id = desk.verify()
    ticket, key = ticket_key(redis, desk)

    redis.rename(of_credentials(operation_id), key)

    assert opened(web, ticket) == (401, "invalid_ticket")


@pytest.mark.parametrize("written", ["words", "-1", "9" * 5_000, ""], ids=["words", "minus", "digits", "nothing"])
def test_what_is_no_count_in_the_breakers_place_stops_no_webhook(
    desk: Desk, run: Callable[..., None], receiver: Receiver, redis: Redis, written: str
) -> None:
    redis.set(f"{circuit_breaker.REDIS_KEY_PREFIX}failures", written)
    operation_id = desk.sync()

    run(DELIVER, operation_id)

    assert desk.operation(operation_id)["state"] == "delivered"
    assert len(receiver.received) == 1


def test_a_probe_that_was_written_by_hand_holds_webhooks_no_longer_than_one_of_ours(redis: Redis) -> None:
    probe = timedelta(seconds=5)
    ours = circuit_breaker.CircuitBreaker(redis, failure_threshold=1, probe_interval=probe)
    redis.set(f"{circuit_breaker.REDIS_KEY_PREFIX}failures", "9", px=60_000)

    redis.set(f"{circuit_breaker.REDIS_KEY_PREFIX}probe", "1", px=timedelta(days=400_000))

    assert ours.time_until_attempt_allowed() == probe
    redis.delete(f"{circuit_breaker.REDIS_KEY_PREFIX}failures", f"{circuit_breaker.REDIS_KEY_PREFIX}probe")


def test_a_sweep_that_was_noted_by_hand_is_no_older_than_new(redis: Redis) -> None:
    redis.set(f"{sweep_times.REDIS_KEY_PREFIX}{sweep_times.DISPATCH_SWEEP}", "1", px=10**18)

    assert sweep_times.sweep_age(redis, sweep_times.DISPATCH_SWEEP) == timedelta(0)
    redis.delete(f"{sweep_times.REDIS_KEY_PREFIX}{sweep_times.DISPATCH_SWEEP}")


@pytest.mark.parametrize("written", ["inf", "nan", "9" * 300, "-1", "words"])
def test_what_is_no_moment_in_a_limits_place_refuses_or_lets_through(
    web: Flask, desk: Desk, redis: Redis, written: str
) -> None:
    assert web
    desk.browser.post("/api/sse/tickets")
    (account,) = redis.scan_iter(f"{rate_limits.REDIS_KEY_PREFIX}*ticket/{desk.browser.organization_id}*")
    redis.delete(account)
    redis.rpush(account, *[written] * 10_000)

    answer = desk.browser.post("/api/sse/tickets")

    assert answer.status_code in (200, 429)
    assert int(answer.headers.get("Retry-After", "1")) <= 60


def test_a_forged_event_is_one_event_of_the_channel_that_it_lies_in(web: Flask, desk: Desk, redis: Redis) -> None:
    """What is pushed is shown and nothing else: it cannot begin an event of another kind, or pass for an answer."""
    channel = events.channel_of_organization(desk.browser.organization_id)
    first = redis.xadd(f"{channel}:events", {"type": events.UPDATE_EVENT_NAME, "data": "{}"}).decode()
    redis.xadd(f"{channel}:events", {"type": "x\n\nevent: y", "data": b"\xff{}\n\nevent: z"})

    with web.app_context():
        (told,) = events.event_stream.events_after(channel, after_id=first)
    written = str(told)

    assert [line.partition(":")[0] for line in written.split("\n") if line] == ["event", "data", "data", "data", "id"]
    assert written.startswith(f"event:{events.UPDATE_EVENT_NAME}\n")
