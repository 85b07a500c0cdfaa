"""The circuit breaker on a real Redis, as several workers share it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.outbound.circuit_breaker import REDIS_KEY_PREFIX, CircuitBreaker
from tests.waiting import eventually

FAILURES = 3
PROBE = timedelta(seconds=0.4)
LONG = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _forgotten(redis: Redis) -> Iterator[None]:
    forget(redis)
    yield
    forget(redis)


def forget(redis: Redis) -> None:
    for key in redis.scan_iter(f"{REDIS_KEY_PREFIX}*"):
        redis.delete(key)


def a_breaker(redis: Redis, *, probe: timedelta = LONG) -> CircuitBreaker:
    return CircuitBreaker(redis, failure_threshold=FAILURES, probe_interval=probe)


def opened(redis: Redis, *, probe: timedelta = LONG) -> CircuitBreaker:
    breaker = a_breaker(redis, probe=probe)
    for _ in range(FAILURES):
        assert breaker.time_until_attempt_allowed() is None
        breaker.record_failure()
    return breaker


def test_it_lets_all_go_until_a_row_of_failures(redis: Redis) -> None:
    breaker = a_breaker(redis)

    for _ in range(FAILURES - 1):
        breaker.record_failure()

    assert [breaker.time_until_attempt_allowed() for _ in range(5)] == [None] * 5


def test_one_answer_in_between_begins_the_row_anew(redis: Redis) -> None:
    breaker = a_breaker(redis)

    for _ in range(2 * FAILURES):
        breaker.record_failure()
        breaker.record_success()

    assert breaker.time_until_attempt_allowed() is None


def test_once_open_it_lets_one_probe_go_and_tells_the_others_how_long_to_wait(redis: Redis) -> None:
    breaker = opened(redis)

    pauses = [breaker.time_until_attempt_allowed() for _ in range(5)]

    assert pauses[0] is None
    assert all(pause is not None and timedelta(0) < pause <= LONG for pause in pauses[1:])


def test_every_worker_knows_what_one_has_found(redis: Redis) -> None:
    opened(redis).time_until_attempt_allowed()

    assert a_breaker(redis).time_until_attempt_allowed() is not None


def test_a_probe_that_fails_is_followed_by_another_a_while_later(redis: Redis) -> None:
    breaker = opened(redis, probe=PROBE)
    assert breaker.time_until_attempt_allowed() is None
    breaker.record_failure()
    assert breaker.time_until_attempt_allowed() is not None

    eventually(lambda: breaker.time_until_attempt_allowed() is None)

    assert breaker.time_until_attempt_allowed() is not None


def test_a_probe_that_is_answered_lets_all_go_at_once(redis: Redis) -> None:
    breaker = opened(redis)
    assert breaker.time_until_attempt_allowed() is None

    breaker.record_success()

    assert [breaker.time_until_attempt_allowed() for _ in range(5)] == [None] * 5


def test_those_whose_requests_it_fails_do_not_have_the_probes_of_the_others(redis: Redis) -> None:
    breaker = a_breaker(redis)
    for _ in range(FAILURES):
        breaker.record_failure("acme")
    assert breaker.time_until_attempt_allowed("acme") is None

    assert breaker.time_until_attempt_allowed("globex") is None
    assert all(breaker.time_until_attempt_allowed(who) is not None for who in ("acme", "globex", "initech", ""))
    breaker.record_failure("globex")
    assert redis.delete(f"{REDIS_KEY_PREFIX}probe_of_others")
    assert breaker.time_until_attempt_allowed("globex") is not None
    assert breaker.time_until_attempt_allowed("initech") is None


def test_an_answer_forgets_who_has_failed(redis: Redis) -> None:
    breaker = a_breaker(redis)
    for _ in range(FAILURES):
        breaker.record_failure("acme")
    breaker.time_until_attempt_allowed("globex")

    breaker.record_success()

    assert list(redis.scan_iter(f"{REDIS_KEY_PREFIX}*")) == []


def test_without_redis_all_may_go() -> None:
    away = a_breaker(Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)))

    for _ in range(2 * FAILURES):
        away.record_failure()

    assert away.time_until_attempt_allowed() is None
    away.record_success()
