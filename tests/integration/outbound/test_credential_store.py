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

from app.outbound.credential_store import REDIS_KEY_PREFIX, CredentialStore
from app.outbound.encryption import Undecryptable, WrongContext
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
    redis.delete(f"{REDIS_KEY_PREFIX}{chosen}")


def test_what_was_parked_comes_out_as_it_went_in(redis: Redis, operation_id: UUID) -> None:
    seals = CredentialStore(redis, keys=[NEW])

    seals.store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert seals.load(operation_id, **OWNER) == CONTENT
    assert seals.load(operation_id, **OWNER) == CONTENT


def test_redis_holds_nothing_that_can_be_read(redis: Redis, operation_id: UUID) -> None:
    CredentialStore(redis, keys=[NEW]).store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    held = redis.get(f"{REDIS_KEY_PREFIX}{operation_id}")

    assert b"hunter2" not in held
    assert b"api_token" not in held


def test_a_seal_ends_with_its_time_to_live(redis: Redis, operation_id: UUID) -> None:
    seals = CredentialStore(redis, keys=[NEW])

    seals.store(operation_id, CONTENT, **OWNER, ttl=timedelta(milliseconds=60))

    assert 0 < redis.pttl(f"{REDIS_KEY_PREFIX}{operation_id}") <= 60
    assert eventually(lambda: seals.load(operation_id, **OWNER) is None, within=2)


def test_what_is_discarded_is_gone(redis: Redis, operation_id: UUID) -> None:
    seals = CredentialStore(redis, keys=[NEW])
    seals.store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    seals.delete(operation_id)
    seals.delete(operation_id)

    assert seals.load(operation_id, **OWNER) is None
    assert not redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")


def test_an_older_key_still_opens_what_it_sealed(redis: Redis, operation_id: UUID) -> None:
    CredentialStore(redis, keys=[OLD]).store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert CredentialStore(redis, keys=[NEW, OLD]).load(operation_id, **OWNER) == CONTENT


def test_the_newest_key_seals(redis: Redis, operation_id: UUID) -> None:
    CredentialStore(redis, keys=[NEW, OLD]).store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert CredentialStore(redis, keys=[NEW]).load(operation_id, **OWNER) == CONTENT
    with pytest.raises(Undecryptable):
        CredentialStore(redis, keys=[OLD]).load(operation_id, **OWNER)


@pytest.mark.parametrize("held", [b"", b"not a seal", Fernet(OLD).encrypt(b"{}")[:-3]], ids=["nothing", "words", "cut"])
def test_what_no_key_opens_is_refused(redis: Redis, operation_id: UUID, held: bytes) -> None:
    redis.set(f"{REDIS_KEY_PREFIX}{operation_id}", held, px=MINUTE)

    seals = CredentialStore(redis, keys=[OLD, NEW])

    assert not seals.is_decryptable(operation_id)
    with pytest.raises(Undecryptable):
        seals.load(operation_id, **OWNER)


@pytest.mark.parametrize("name", OWNER)
def test_it_opens_for_its_own_connection_and_organization_alone(redis: Redis, operation_id: UUID, name: str) -> None:
    seals = CredentialStore(redis, keys=[NEW])
    seals.store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    assert seals.is_decryptable(operation_id)
    with pytest.raises(WrongContext):
        seals.load(operation_id, **OWNER | {name: uuid4()})


def test_a_redis_that_is_away_is_told_apart_from_a_seal_that_is_gone(operation_id: UUID) -> None:
    with Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as away:
        seals = CredentialStore(away, keys=[NEW])

        for act in (
            lambda: seals.load(operation_id, **OWNER),
            lambda: seals.store(operation_id, CONTENT, **OWNER, ttl=MINUTE),
        ):
            with pytest.raises(RedisError):
                act()


def test_a_seal_that_cannot_be_destroyed_now_is_left_to_its_time_to_live(redis: Redis, operation_id: UUID) -> None:
    CredentialStore(redis, keys=[NEW]).store(operation_id, CONTENT, **OWNER, ttl=MINUTE)

    with Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as away:
        CredentialStore(away, keys=[NEW]).delete(operation_id)

    assert 0 < redis.pttl(f"{REDIS_KEY_PREFIX}{operation_id}") <= MINUTE.total_seconds() * 1000
