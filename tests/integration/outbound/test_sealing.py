"""Sealed credentials on a real Redis: unreadable there, gone in time, and opened by every key that is held."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.outbound.encryption import Misplaced, Unreadable
from app.outbound.sealing import PREFIX, Seals
from tests.waiting import eventually

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
CONTENT = {"credentials": {"api_token": "hunter2", "nested": {"é": [1, None]}}, "settings": {}}
MINUTE = timedelta(minutes=1)
OWNER = {"organization_id": uuid4(), "connection_id": uuid4()}


@pytest.fixture
def operation_id(redis: Redis) -> Iterator[UUID]:
    """An id whose seal is gone after the test."""
    chosen = uuid4()
    yield chosen
    redis.delete(f"{PREFIX}{chosen}")


def test_what_was_parked_comes_out_as_it_went_in(redis: Redis, operation_id: UUID) -> None:
    seals = Seals(redis, keys=[NEW])

    seals.park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert seals.open(operation_id, **OWNER) == CONTENT
    assert seals.open(operation_id, **OWNER) == CONTENT


def test_redis_holds_nothing_that_can_be_read(redis: Redis, operation_id: UUID) -> None:
    Seals(redis, keys=[NEW]).park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    held = redis.get(f"{PREFIX}{operation_id}")

    assert b"hunter2" not in held
    assert b"api_token" not in held


def test_a_seal_ends_with_its_time_to_live(redis: Redis, operation_id: UUID) -> None:
    seals = Seals(redis, keys=[NEW])

    seals.park(operation_id, CONTENT, **OWNER, ttl=timedelta(milliseconds=60))

    assert 0 < redis.pttl(f"{PREFIX}{operation_id}") <= 60
    assert eventually(lambda: seals.open(operation_id, **OWNER) is None, within=2)


def test_what_is_discarded_is_gone(redis: Redis, operation_id: UUID) -> None:
    seals = Seals(redis, keys=[NEW])
    seals.park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    seals.discard(operation_id)
    seals.discard(operation_id)

    assert seals.open(operation_id, **OWNER) is None
    assert not redis.exists(f"{PREFIX}{operation_id}")


def test_an_older_key_still_opens_what_it_sealed(redis: Redis, operation_id: UUID) -> None:
    Seals(redis, keys=[OLD]).park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert Seals(redis, keys=[NEW, OLD]).open(operation_id, **OWNER) == CONTENT


def test_the_newest_key_seals(redis: Redis, operation_id: UUID) -> None:
    Seals(redis, keys=[NEW, OLD]).park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert Seals(redis, keys=[NEW]).open(operation_id, **OWNER) == CONTENT
    with pytest.raises(Unreadable):
        Seals(redis, keys=[OLD]).open(operation_id, **OWNER)


@pytest.mark.parametrize("held", [b"", b"not a seal", Fernet(OLD).encrypt(b"{}")[:-3]], ids=["nothing", "words", "cut"])
def test_what_no_key_opens_is_refused(redis: Redis, operation_id: UUID, held: bytes) -> None:
    redis.set(f"{PREFIX}{operation_id}", held, px=MINUTE)

    seals = Seals(redis, keys=[OLD, NEW])

    assert not seals.is_readable(operation_id)
    with pytest.raises(Unreadable):
        seals.open(operation_id, **OWNER)


@pytest.mark.parametrize("name", OWNER)
def test_it_opens_for_its_own_connection_and_organization_alone(redis: Redis, operation_id: UUID, name: str) -> None:
    seals = Seals(redis, keys=[NEW])
    seals.park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert seals.is_readable(operation_id)
    with pytest.raises(Misplaced):
        seals.open(operation_id, **OWNER | {name: uuid4()})


def test_a_redis_that_is_away_is_told_apart_from_a_seal_that_is_gone(operation_id: UUID) -> None:
    with Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as away:
        seals = Seals(away, keys=[NEW])

        for act in (
            lambda: seals.open(operation_id, **OWNER),
            lambda: seals.park(operation_id, CONTENT, **OWNER, ttl=MINUTE),
        ):
            with pytest.raises(RedisError):
                act()


def test_a_seal_that_cannot_be_destroyed_now_is_left_to_its_time_to_live(redis: Redis, operation_id: UUID) -> None:
    Seals(redis, keys=[NEW]).park(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    with Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as away:
        Seals(away, keys=[NEW]).discard(operation_id)

    assert 0 < redis.pttl(f"{PREFIX}{operation_id}") <= MINUTE.total_seconds() * 1000
