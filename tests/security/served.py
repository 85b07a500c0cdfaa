"""The web process as it is served, by gunicorn with greenlets: what an attack on a connection needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.domain import source_types
from devstack.servers import Servers
from tests.databases import Template
from tests.e2e.processes import Processes, environment
from tests.receiver import Receiver

MOST_STREAMS = 3


@pytest.fixture(scope="package")
def served(
    template: Template, private_servers: Servers, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """One web process at its most talkative, on a database of its own."""
    with template.copied("served") as urls:
        environ = environment(
            database_urls=urls,
            redis_url=private_servers.redis_url,
            rabbitmq_url=private_servers.rabbitmq_url,
            webhook_url=receiver.url,
            LOG_LEVEL="DEBUG",
            SSE_HEARTBEAT_SECONDS="0.5",
            ENABLED_DATA_SOURCE_TYPES=",".join(source_types.OPTIONAL_TYPES),
            SSE_STREAMS_PER_ORGANIZATION=str(MOST_STREAMS),
        )
        with Processes(environ, directory=tmp_path_factory.mktemp("web")) as processes:
            processes.start("web")
            yield processes
            processes.stop_all()
