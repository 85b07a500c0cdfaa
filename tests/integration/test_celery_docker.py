"""The status worker on pytest-celery's containers: the RabbitMQ of the image that it names.

The machine's own broker serves all other tests; these are for whoever has a Docker engine.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from pytest_celery import RabbitMQTestBroker

from app.config import Settings
from app.outbound.broker import DEAD_LETTERS, connected
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from tests.e2e.processes import Processes, environment
from tests.e2e.service import STATUS, Service
from tests.letters import bury_reliably
from tests.waiting import eventually


def has_engine() -> bool:
    """Tell whether a Docker engine answers; the program alone is not enough."""
    program = shutil.which("docker")
    if program is None:
        return False
    asked = subprocess.run([program, "info"], capture_output=True, timeout=20, check=False)
    return asked.returncode == 0 and b"Server Version" in asked.stdout


pytestmark = [pytest.mark.docker, pytest.mark.skipif(not has_engine(), reason="no Docker engine answers")]


@pytest.fixture
def container_url(celery_rabbitmq_broker: RabbitMQTestBroker) -> str:
    """The address, from here, of the RabbitMQ that pytest-celery has started."""
    config: dict[str, Any] = celery_rabbitmq_broker.config()
    return str(config["host_url"])


def test_the_status_worker_works_on_the_containers_broker(
    container_url: str, settings: Settings, flask_app: Any, database: tuple[str, str], tmp_path: Any
) -> None:
    assert flask_app
    service = Service(container_url, queue=STATUS)
    service.declare()
    environ = environment(
        database_urls=database,
        redis_url=settings.redis_url,
        rabbitmq_url=container_url,
        webhook_url=settings.automation_webhook_url,
    )
    with Processes(environ, directory=tmp_path) as processes:
        processes.start("worker")
        service.send_raw("no JSON")
        eventually(lambda: service.waiting(DEAD_LETTERS) == 1)
        processes.stop("worker")

    assert service.reasons() == ["not_json"]


def test_dead_letters_are_kept_by_the_containers_broker(container_url: str) -> None:
    bury_reliably(container_url, [DeadLetter(b"body", "not_json", queue=STATUS)])

    with connected(container_url) as connection:
        assert [letter.body for letter in DeadLetterQueue(connection).look(limit=10)] == [b"body"]
