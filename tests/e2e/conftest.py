"""One whole Rita for the package: every line of the Procfile as a process, on a database and a Redis of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg2.extras import RealDictCursor
from redis import Redis

from devstack.ports import free_port
from devstack.servers import Servers
from tests.databases import Template, transaction
from tests.e2e.browser import Person
from tests.e2e.processes import Processes, environment
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name
from tests.e2e.service import QUEUES, Service
from tests.receiver import Receiver

# Apart from what the tests within the process use.
REDIS_NUMBER = 14
HERE = Path(__file__).parent


@pytest.fixture(scope="package")
def databases(template: Template) -> Iterator[tuple[str, str]]:
    """A database of these processes' own, as (owner's URL, application's URL)."""
    with template.copied("e2e") as urls:
        yield urls


@pytest.fixture(scope="package")
def redis_url(private_servers: Servers) -> str:
    return urlsplit(private_servers.redis_url)._replace(path=f"/{REDIS_NUMBER}").geturl()


@pytest.fixture(scope="package")
def own_redis(private_servers: Servers) -> Iterator[Redis]:
    url = urlsplit(private_servers.admin_redis_url)._replace(path=f"/{REDIS_NUMBER}").geturl()
    with Redis.from_url(url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture(scope="package")
def external() -> Iterator[Receiver]:
    """The external service's HTTP door."""
    with Receiver() as started:
        yield started


@pytest.fixture(autouse=True)
def _fresh_external(external: Receiver) -> None:
    external.reset()


@pytest.fixture(scope="package")
def environ(
    databases: tuple[str, str], redis_url: str, rabbitmq_url: str, own_redis: Redis, external: Receiver
) -> dict[str, str]:
    own_redis.ping()
    return environment(
        database_urls=databases,
        redis_url=redis_url,
        rabbitmq_url=rabbitmq_url,
        webhook_url=external.url,
        # The most talkative there is, so that what must not be logged is looked for in all that could be.
        LOG_LEVEL="DEBUG",
        VERIFY_DEADLINE_SECONDS="6",
        SSE_HEARTBEAT_SECONDS="0.5",
        WORKER_METRICS_PORT=str(free_port()),
        WEBHOOK_WORKER_METRICS_PORT=str(free_port()),
    )


@pytest.fixture(scope="package")
def rita(environ: dict[str, str], rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Every line of the Procfile; the external service had declared its queue before the worker came."""
    service = Service(rabbitmq_url)
    service.delete(*QUEUES)
    service.declare()
    try:
        with Processes(environ, directory=tmp_path_factory.mktemp("processes")) as processes:
            processes.run("release")
            processes.start("web", "worker", "webhook_worker", "beat", "flower")
            yield processes
            processes.stop_all()
    finally:
        service.delete(*QUEUES)


@pytest.fixture
def service(rita: Processes) -> Iterator[Service]:
    """The external service's end of the broker; what a test leaves in it goes."""
    made = Service(rita.environ["RABBITMQ_URL"])
    yield made
    made.purge(*QUEUES)


@pytest.fixture
def ada(rita: Processes) -> Person:
    """Somebody of an organization of this test's own."""
    return Person(rita.base_url)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in here: it all needs a RabbitMQ."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.rabbitmq)


class Rows:
    """What the database holds, seen as its superuser sees it: past row-level security."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with transaction(self.url, cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()]

    def change(self, statement: str, *values: Any) -> None:
        with transaction(self.url) as cursor:
            cursor.execute(statement, values)

    def operation(self, connection_id: str, kind: str) -> dict[str, Any]:
        """Return a connection's newest operation of a kind."""
        query = "SELECT * FROM operations WHERE connection_id = %s AND kind = %s ORDER BY id DESC LIMIT 1"
        (row,) = self(query, connection_id, kind)
        return row


@pytest.fixture(scope="package")
def rows(databases: tuple[str, str], admin_database_url: str) -> Rows:
    database = urlsplit(databases[0]).path
    return Rows(urlsplit(admin_database_url)._replace(path=database).geturl())
