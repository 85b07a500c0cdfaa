from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from flask import Flask

from app.domain.delivery_job import DeliveryJob
from devstack.ports import free_port


def dead(scheme: str) -> str:
    return f"{scheme}://rita:of-the-server@127.0.0.1:{free_port()}/0"


def test_the_process_lives(web: Flask) -> None:
    answer = web.test_client().get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_the_process_is_ready_while_all_three_answer(another_app: Callable[..., Flask]) -> None:
    answer = another_app().test_client().get("/readyz")

    assert answer.status_code == 200
    checks = {"database": "ok", "redis": "ok", "broker": "ok"}
    assert answer.json == {"status": "ok", "failing": [], "checks": checks}


@pytest.mark.parametrize(
    ("setting", "scheme", "service", "status"),
    [
        ("database_url", "postgresql", "database", 503),
        # Presses are accepted without a broker, and syncs go on without Redis.
        ("redis_url", "redis", "redis", 200),
        ("rabbitmq_url", "amqp", "broker", 200),
        ("rabbitmq_url", "redis", "broker", 200),
    ],
)
def test_what_does_not_answer_is_named(
    another_app: Callable[..., Flask], setting: str, scheme: str, service: str, status: int
) -> None:
    app = another_app(**{setting: dead(scheme)})
    started = datetime.now(UTC)

    answer = app.test_client().get("/readyz")

    assert answer.status_code == status
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
    assert app.extensions["job_sender"].send_delivery_job(DeliveryJob(UUID(int=1), "sync", UUID(int=2))) is False


def test_a_process_lives_with_nothing_around_it(another_app: Callable[..., Flask]) -> None:
    app = another_app(database_url=dead("postgresql"), redis_url=dead("redis"), rabbitmq_url=dead("amqp"))

    assert app.test_client().get("/healthz").status_code == 200
    assert app.test_client().get("/readyz").json["failing"] == ["database", "redis", "broker"]


def test_a_broker_that_hangs_makes_no_answer_late_and_is_connected_to_once_however_many_ask(
    another_app: Callable[..., Flask],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        app = another_app(rabbitmq_url=f"amqp://rita:of-the-server@127.0.0.1:{hanging.getsockname()[1]}//")
        started = datetime.now(UTC)
        with ThreadPoolExecutor(20) as askers:
            answers = list(askers.map(lambda _: app.test_client().get("/readyz"), range(600)))
        took = datetime.now(UTC) - started

        assert {(answer.status_code, *answer.json["failing"]) for answer in answers} == {(200, "broker")}
        # Kombu tries an address twice; one look takes a second, and the next one waits for it.
        assert connections(hanging) <= 2 * (1 + took // timedelta(seconds=1))
    assert took < timedelta(seconds=4)


def connections(server: socket.socket) -> int:
    """Count those that wait to be accepted."""
    server.settimeout(0)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count
