"""The status worker on pytest-celery's containers: the RabbitMQ of the image that it names, and our own image.

The machine's own broker serves all other tests. `make containers` runs these without Docker; else they are for whoever
has a Docker engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests import docker_engine

if not docker_engine.may_answer():
    pytest.skip("no Docker engine; `make containers` runs these without one", allow_module_level=True)

import docker
from docker.errors import DockerException, ImageNotFound
from pytest_celery import CeleryWorkerContainer, RabbitMQTestBroker
from pytest_docker_tools import container, fxtr

from app.config import Settings
from app.outbound.broker import DEAD_LETTER_QUEUE_NAME, open_confirmed_connection
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from tests.e2e.processes import Processes, environment
from tests.e2e.service import STATUS, Service
from tests.letters import bury_reliably
from tests.waiting import eventually

IMAGE = "rita-data-sources"


def has_engine() -> bool:
    """Tell whether a Docker engine answers; its program alone is not enough."""
    try:
        return bool(docker.from_env(timeout=20).ping())
    except DockerException:
        return False


pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_engine(), reason="no Docker engine answers; `make containers` runs these without one"),
    pytest.mark.timeout(300),
    # Their containers' sockets are closed when the garbage collector comes to them.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def container_url(celery_rabbitmq_broker: RabbitMQTestBroker) -> str:
    """The address, from here, of the RabbitMQ that pytest-celery has started.

    Not the one in its configuration: where this runs in a container itself, that is a port of this machine, where
    another broker may listen.
    """
    host, port = celery_rabbitmq_broker.container.get_addr("5672/tcp")
    return f"amqp://guest:guest@{host}:{port}//"


@pytest.fixture(autouse=True)
def _it_is_the_containers(container_url: str, celery_rabbitmq_broker: RabbitMQTestBroker) -> None:
    """Hold the name that the broker gives itself against the container's."""
    hostname = celery_rabbitmq_broker.container.attrs["Config"]["Hostname"]
    with open_confirmed_connection(container_url) as connection:
        properties = connection.connection.server_properties
    assert properties["cluster_name"] == f"rabbit@{hostname}"


@pytest.fixture
def worker_environment(
    container_url: str, settings: Settings, flask_app: Any, database: tuple[str, str]
) -> dict[str, str]:
    assert flask_app
    return environment(
        database_urls=database,
        redis_url=settings.redis_url,
        rabbitmq_url=container_url,
        webhook_url=settings.automation_webhook_url,
    )


@pytest.fixture
def service(container_url: str) -> Service:
    made = Service(container_url, queue=STATUS)
    made.declare()
    return made


def test_the_status_worker_works_on_the_containers_broker(
    worker_environment: dict[str, str], service: Service, tmp_path: Any
) -> None:
    with Processes(worker_environment, directory=tmp_path) as processes:
        processes.start("worker")
        service.send_raw("no JSON")
        eventually(lambda: service.waiting(DEAD_LETTER_QUEUE_NAME) == 1)
        processes.stop("worker")

    assert service.reasons() == ["not_json"]


def test_dead_letters_are_kept_by_the_containers_broker(container_url: str) -> None:
    bury_reliably(container_url, [DeadLetter(b"body", "not_json", queue=STATUS)])

    with open_confirmed_connection(container_url) as connection:
        assert [letter.body for letter in DeadLetterQueue(connection).list_oldest(limit=10)] == [b"body"]


@pytest.fixture
def our_image() -> Iterator[str]:
    with closing(docker.from_env()) as client:
        try:
            client.images.get(IMAGE)
        except ImageNotFound:
            pytest.skip(f"there is no image {IMAGE}: docker compose build")
        yield IMAGE


@pytest.fixture
def variables_of_the_container(worker_environment: dict[str, str], service: Service) -> dict[str, str]:
    """What the worker uses, and not this machine's PATH; the queue is there before it is."""
    service.declare()
    used = ("DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "METRICS_TOKEN")
    return {name: worker_environment[name] for name in used}


# Celery's worker of ours in its own container, beside the tests' own servers.
our_worker = container(
    image="{our_image}",
    command=["python", "-m", "tasks", "worker", "-Q", STATUS, "-c", "1", "--without-mingle", "--without-gossip"],
    environment=fxtr("variables_of_the_container"),
    network_mode="host",
    wrapper_class=CeleryWorkerContainer,
    timeout=60,
)


def test_the_worker_in_its_container_works_on_the_containers_broker(
    our_worker: CeleryWorkerContainer, service: Service
) -> None:
    service.send_raw("no JSON")
    eventually(lambda: service.waiting(DEAD_LETTER_QUEUE_NAME) == 1)

    assert service.reasons() == ["not_json"]
    assert "status_message_dead" in our_worker.logs() or "not_json" in our_worker.logs()
