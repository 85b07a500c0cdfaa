"""Who stands between Rita and the broker or Redis, with a certificate of their own, is not told the password."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.domain.delivery_job import DeliveryJob
from app.outbound import broker
from app.redis_pool import create_redis_pool
from devstack.offline_application import create_offline_application
from tests.integration.outbound.sockets import Stopped, a_certificate, listening

SOON = timedelta(seconds=2)
A_DELIVERY = DeliveryJob(uuid4(), "sync", uuid4())


def ask(url: str, _: ModuleType) -> None:
    assert not broker.is_reachable(url, timeout=SOON)


def publish(url: str, _: ModuleType) -> None:
    with broker.open_confirmed_connection(url, timeout=SOON):
        pytest.fail("nobody speaks AMQP there, or Redis' protocol")


def press(url: str, _: ModuleType) -> None:
    create_offline_application(rabbitmq_url=url).extensions["job_sender"].send_delivery_job(A_DELIVERY)


def work(url: str, celery_module: ModuleType, *, make: str = "make_app") -> None:
    made: Any = getattr(celery_module, make)(create_offline_application(rabbitmq_url=url).extensions["settings"])
    with made.connection_for_write(connect_timeout=SOON.total_seconds()) as opened:
        opened.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=True)


def apply(url: str, celery_module: ModuleType) -> None:
    work(url, celery_module, make="make_status_app")


def remember(url: str, _: ModuleType) -> None:
    Redis(connection_pool=create_redis_pool(url)).ping()


WAYS = [*product(["amqps", "rediss"], [ask, publish, press, work, apply]), ("rediss", remember)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9"])
@pytest.mark.parametrize(("scheme", "connect"), WAYS)
def test_a_server_is_spoken_to_whose_certificate_has_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    celery_module: ModuleType,
    scheme: str,
    host: str,
    connect: Callable[[str, ModuleType], None],
) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket, _: Stopped) -> None:
        heard.append(connection.recv(100))

    # Everybody here trusts whoever has made it.
    certificate = a_certificate(tmp_path, address=host)
    monkeypatch.setenv("SSL_CERT_FILE", certificate.ca_file)
    with listening(listen, tls=certificate.server) as address, suppress(*broker.BrokerError, RedisError, OSError):
        connect(f"{scheme}://rita:word@{address}/0", celery_module)

    assert bool(heard) is (host == "127.0.0.1")
