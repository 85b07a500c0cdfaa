from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from flask import Flask

from app.domain.delivery import Delivery
from devstack.ports import free_port


def dead(scheme: str) -> str:
    return f"{scheme}://rita:of-the-server@127.0.0.1:{free_port()}/0"


def test_the_process_lives(web: Flask) -> None:
    answer = web.test_client().get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_the_process_is_ready_while_all_three_answer(web: Flask) -> None:
    answer = web.test_client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "checks": {"database": "ok", "redis": "ok", "broker": "ok"}}


@pytest.mark.parametrize(
    ("setting", "scheme", "service"),
    [
        ("database_url", "postgresql", "database"),
        ("redis_url", "redis", "redis"),
        ("rabbitmq_url", "amqp", "broker"),
        ("rabbitmq_url", "redis", "broker"),
    ],
)
def test_what_does_not_answer_is_named(
    another_app: Callable[..., Flask], setting: str, scheme: str, service: str
) -> None:
    app = another_app(**{setting: dead(scheme)})
    started = datetime.now(UTC)

    answer = app.test_client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json["failing"] == [service]
    assert answer.json["checks"] == {"database": "ok", "redis": "ok", "broker": "ok"} | {service: "failing"}
    assert "of-the-server" not in answer.text
    assert datetime.now(UTC) - started < timedelta(seconds=10)


@pytest.mark.rabbitmq
def test_a_broker_that_refuses_is_named_like_one_that_is_away(
    another_app: Callable[..., Flask], rabbitmq_url: str
) -> None:
    app = another_app(rabbitmq_url=urlsplit(rabbitmq_url)._replace(path="/no-such-virtual-host").geturl())

    assert app.test_client().get("/readyz").json["failing"] == ["broker"]
    assert app.extensions["jobs"].deliver_webhook(Delivery(UUID(int=1), "sync", UUID(int=2))) is False


def test_a_process_lives_with_nothing_around_it(another_app: Callable[..., Flask]) -> None:
    app = another_app(database_url=dead("postgresql"), redis_url=dead("redis"), rabbitmq_url=dead("amqp"))

    assert app.test_client().get("/healthz").status_code == 200
    assert app.test_client().get("/readyz").json["failing"] == ["database", "redis", "broker"]
