"""A credential when something fails on its way: a transaction, a server, the POST, the record of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.outbound import webhook
from app.outbound.credential_store import REDIS_KEY_PREFIX
from devstack.ports import free_port
from tests.factories import Browser
from tests.integration.tasks.conftest import Sql
from tests.receiver import Receiver, answer
from tests.security.canary import DELIVER, Canary, Run, breaking, crash_of


def test_a_transaction_that_crashes_leaves_no_seal(canary: Canary, sql: Sql) -> None:
    with breaking(sql, "operations", "kind <> 'verify'"):
        crashed = canary.press()

    assert crashed.status_code == 500
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_database_that_is_away_leaves_no_seal(
    canary: Canary, another_app: Callable[..., Flask], redis: Redis
) -> None:
    away = another_app(database_url=f"postgresql://rita:x@127.0.0.1:{free_port()}/rita", log_level="DEBUG")

    crashed = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert crashed.status_code == 503
    assert list(redis.scan_iter(f"{REDIS_KEY_PREFIX}*")) == []
    assert canary.found() == []


def test_a_redis_that_is_away_is_given_nothing(canary: Canary, another_app: Callable[..., Flask]) -> None:
    away = another_app(redis_url=f"redis://127.0.0.1:{free_port()}/0", log_level="DEBUG")

    refused = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert refused.status_code == 503
    assert canary.found() == []


def test_a_broker_that_is_away_delays_it_sealed(canary: Canary, another_app: Callable[..., Flask]) -> None:
    away = another_app(rabbitmq_url=f"amqp://rita:x@127.0.0.1:{free_port()}//", log_level="DEBUG")

    taken = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert taken.status_code == 200
    assert len(canary.sealed()) == 1
    assert canary.found() == []


def test_a_post_that_crashes_tells_nothing_and_the_seal_ends_by_itself(
    canary: Canary, run: Run, tasks_app: Flask, redis: Redis, settings: Settings
) -> None:
    operation_id = canary.press().json["operation_id"]
    broken = webhook.WebhookTarget.from_settings(settings.model_copy(update={
        "automation_webhook_url": "https://127.0.0.1:9/", "webhook_ca_file": "/nowhere.pem",
    }))  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks_app.extensions, "webhook_target", broken)
        told = crash_of(lambda: run(DELIVER, operation_id), OSError)

    assert "FileNotFoundError" in told
    assert 0 < redis.pttl(f"{REDIS_KEY_PREFIX}{operation_id}") <= 120_000
    assert canary.found(traceback=[told]) == []


def test_a_record_that_crashes_tells_nothing_and_the_seal_ends_by_itself(
    canary: Canary, run: Run, sql: Sql, redis: Redis, receiver: Receiver
) -> None:
    operation_id = canary.press().json["operation_id"]

    with breaking(sql, "operations", "attempt_log = '[]'"):
        told = crash_of(lambda: run(DELIVER, operation_id), SQLAlchemyError)

    assert len(receiver.received) == 1
    assert 0 < redis.pttl(f"{REDIS_KEY_PREFIX}{operation_id}") <= 120_000
    assert canary.found(traceback=[told]) == []


def test_attempts_that_fail_leave_it_sealed_until_the_last(
    canary: Canary, run: Run, sql: Sql, receiver: Receiver
) -> None:
    # What the receiver says is not kept either, and it may say back what it was sent.
    receiver.otherwise = answer(500, body=canary.word.encode(), headers={"X": canary.word})
    operation_id = canary.press().json["operation_id"]

    for attempt in range(3):
        assert len(canary.sealed()) == 1, attempt
        sql("UPDATE operations SET next_attempt_at = now() WHERE id = %(id)s", id=operation_id)
        run(DELIVER, operation_id)
        assert canary.found() == []

    assert len(receiver.received) == 3
    assert canary.browser.connection()["status"] == "idle"
    assert canary.sealed() == []


@pytest.mark.parametrize(
    "ending",
    [
        answer(302, headers={"Location": "http://127.0.0.1:9/"}),
        answer(401),
        lambda handler: handler.wfile.write(b"no HTTP at all\r\n\r\n"),
        lambda handler: handler.connection.close(),
    ],
    ids=["redirected", "refused", "not HTTP", "cut off"],
)
def test_however_an_attempt_ends_it_is_told_nowhere(canary: Canary, run: Run, receiver: Receiver, ending: Any) -> None:
    receiver.otherwise = ending

    run(DELIVER, canary.press().json["operation_id"])

    assert len(receiver.received) == 1
    assert canary.found() == []
