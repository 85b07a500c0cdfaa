"""The status worker while a server is away: private ones, since nobody else's may be stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack.databases import create_database
from devstack.postgres import PostgreSQL
from devstack.rabbitmq import RabbitMQ, is_installed
from tests.e2e.processes import Processes, environment
from tests.e2e.service import DEAD, STATUS, Service
from tests.integration.status.conftest import Database, batches_that_wait, completions, held, superuser_url
from tests.waiting import eventually

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.skipif(not is_installed(os.environ), reason="there is no rabbitmq-server on the PATH"),
]


@dataclass(frozen=True)
class Island:
    """A status worker with a RabbitMQ and a PostgreSQL that nobody else uses."""

    worker: Processes
    rabbitmq: RabbitMQ
    postgres: PostgreSQL
    rows: Database
    service: Service


@pytest.fixture(scope="module")
def island(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Island]:
    directory: Path = tmp_path_factory.mktemp("island")
    rabbitmq = RabbitMQ(directory / "rabbitmq", environ=os.environ)
    postgres = PostgreSQL(directory / "postgres", durable=False, environ=os.environ)
    with ExitStack() as running:
        running.callback(postgres.remove)
        running.enter_context(postgres)
        running.enter_context(rabbitmq)
        urls = create_database(postgres.url, name="rita_island")
        environ = environment(
            database_urls=urls,
            redis_url=settings.redis_url,
            rabbitmq_url=rabbitmq.url,
            webhook_url=settings.automation_webhook_url,
        )
        processes = running.enter_context(Processes(environ, directory=directory))
        processes.run("release")
        processes.start("worker")
        rows = Database(superuser_url(postgres.url, of=urls[0]))
        yield Island(processes, rabbitmq, postgres, rows, Service(rabbitmq.url))
        processes.stop("worker")


def test_while_the_database_is_away_nothing_is_lost_or_buried_and_then_all_is_applied(island: Island) -> None:
    connections = island.rows.connections(700)
    before = island.rows.completed()
    pauses = island.worker.log("worker").count("status_batch_held")

    island.postgres.stop()
    island.service.flood(completions(connections))
    eventually(lambda: island.worker.log("worker").count("status_batch_held") >= pauses + 2, within=30)
    assert island.service.waiting(DEAD) == 0
    island.postgres.start()

    eventually(lambda: island.rows.completed() - before == len(connections), within=60)
    assert island.worker.children["worker"].is_running
    assert island.service.waiting(DEAD) == 0
    eventually(lambda: island.service.waiting() == 0)


def test_a_worker_whose_broker_restarts_in_the_middle_of_a_flood_comes_back_and_applies_it_all(island: Island) -> None:
    connections = island.rows.connections(2_000)
    before = island.rows.completed()
    # One batch waits, so that the broker goes in the middle however quick the worker is.
    with held(island.rows, connections[-1]["id"]):
        island.service.flood(completions(connections))
        eventually(lambda: island.rows.completed() > before and batches_that_wait(island.rows))

        # In good order, so that what the queue holds outlives it.
        island.rabbitmq.stop()
    island.rabbitmq.start()

    eventually(lambda: island.rows.completed() - before == len(connections), within=40)
    assert island.worker.children["worker"].is_running
    eventually(lambda: island.service.consumers(STATUS) == 1, within=40)
    assert island.service.waiting(DEAD) == 0
    ids = [connection["id"] for connection in connections]
    counted = island.rows("SELECT count(*) AS n FROM operations WHERE connection_id = ANY (%s::uuid[])", ids)
    assert counted == [{"n": len(connections)}]
