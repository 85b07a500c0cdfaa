"""No number of returns loses a message, and none is returned that can be held: on a quorum queue, which counts them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from devstack.databases import create_database
from devstack.postgres import PostgreSQL
from tests.e2e.processes import Processes, environment
from tests.e2e.service import DEAD, Service, channel
from tests.factories import a_sync_message, a_verification_message
from tests.integration.status.conftest import Database, completions, superuser_url
from tests.integration.status.test_worker import batches_that_wait, held
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

# One after the other, and given back after a few.
SETTINGS = {"STATUS_RETRY_SECONDS": "0.2,0.4,0.6", "STATUS_HOLD_SECONDS": "6", "STATUS_CONCURRENCY": "3"}
# Otherwise than Rita declares it, wherever queues are quorum by default, too.
ARGUMENTS = {"x-queue-type": "quorum", "x-max-length": 100_000}


@dataclass(frozen=True)
class Island:
    """A worker on a quorum queue of its own, with a PostgreSQL that may be stopped."""

    worker: Processes
    postgres: PostgreSQL
    rows: Database
    service: Service

    def log(self) -> str:
        return self.worker.log("worker")

    @contextmanager
    def without_database(self) -> Iterator[None]:
        self.postgres.stop()
        try:
            yield
        finally:
            self.postgres.start()


@pytest.fixture(scope="module")
def island(rabbitmq_url: str, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Island]:
    directory: Path = tmp_path_factory.mktemp("returns")
    postgres = PostgreSQL(directory / "postgres", durable=False, environ=os.environ)
    service = Service(rabbitmq_url, queue=f"status.{uuid4().hex[:8]}")
    with channel(rabbitmq_url) as opened:
        opened.queue_declare(service.queue, durable=True, auto_delete=False, arguments=ARGUMENTS)
    try:
        with postgres:
            urls = create_database(postgres.url, name="rita_returns")
            environ = environment(
                database_urls=urls,
                redis_url=settings.redis_url,
                rabbitmq_url=rabbitmq_url,
                webhook_url=settings.automation_webhook_url,
                STATUS_QUEUES=service.queue,
                **SETTINGS,
            )
            with Processes(environ, directory=directory) as processes:
                processes.run("release")
                processes.start("worker")
                yield Island(processes, postgres, Database(superuser_url(postgres.url, of=urls[0])), service)
                processes.stop_all()
    finally:
        postgres.remove()
        service.delete(service.queue, DEAD)


def returns(service: Service) -> list[tuple[dict[str, Any], int]]:
    """Return each waiting message, oldest first, and how often it was returned; looking is one more return of each."""
    with channel(service.url) as opened:
        found: list[Any] = []
        while (message := opened.basic_get(service.queue)) is not None:
            found.append(message)
        for message in found:
            opened.basic_reject(message.delivery_tag, requeue=True)
    return [(json.loads(message.body), int((message.headers or {}).get("x-delivery-count", 0))) for message in found]


def in_order(connections: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return two answers of each connection that only their order tells apart: a refusal, then a success."""
    refusals = [a_verification_message(each, "failed", error="Old") for each in connections]
    return [*refusals, *[a_verification_message(each, options={"spaces": "NEW"}) for each in connections]]


def operations_of(island: Island, connections: list[dict[str, str]]) -> int:
    query = "SELECT count(*) AS n FROM operations WHERE connection_id = ANY (%s::uuid[])"
    return int(island.rows(query, [connection["id"] for connection in connections])[0]["n"])


def in_the_end(island: Island, connections: list[dict[str, str]]) -> list[Any]:
    rows = [island.rows.row(connection["id"]) for connection in connections]
    return [(row["last_verification_error"], (row["latest_options"] or {}).get("spaces")) for row in rows]


def test_a_queue_that_was_declared_otherwise_is_consumed_and_the_log_says_so_once(island: Island) -> None:
    connections = island.rows.connections(3)

    island.service.send(*completions(connections))

    eventually(lambda: island.rows.completed() >= len(connections))
    assert island.log().count("status_queue_not_as_declared") == 1


def test_while_the_database_is_away_batches_are_held_and_then_applied_in_the_order_of_their_delivery(
    island: Island,
) -> None:
    connections = island.rows.connections(30)
    before = island.log().count("status_batch_held")

    with island.without_database():
        island.service.send(*in_order(connections))
        eventually(lambda: island.log().count("status_batch_held") >= before + 4)
        assert island.service.waiting() == 0

    eventually(lambda: in_the_end(island, connections) == [(None, "NEW")] * len(connections))
    assert "status_messages_given_back" not in island.log()


def test_an_outage_of_any_length_costs_each_message_one_return_in_the_order_of_delivery(island: Island) -> None:
    connections = island.rows.connections(30)
    messages = in_order(connections)

    with island.without_database():
        island.service.send(*messages)
        eventually(lambda: island.service.waiting() == len(messages), within=40)
        seen = returns(island.service)
        # Nothing is taken meanwhile, however often the database is asked for.
        held = island.log().count("status_batch_held")
        eventually(lambda: island.log().count("status_batch_held") >= held + 3)
        assert island.service.waiting() == len(messages)

    assert seen == [(message, 1) for message in messages]
    # In which order a quorum queue of 3.10 delivers what was returned to it is its own affair.
    eventually(lambda: operations_of(island, connections) == len(messages), within=40)
    assert island.log().count("status_messages_given_back") == 1


def test_a_child_that_is_killed_costs_no_return(island: Island) -> None:
    (connection,) = island.rows.connections(1)
    before = island.log().count("status_batch_held")
    with held(island.rows, connection["id"]):
        island.service.send(a_sync_message(connection))
        eventually(lambda: batches_that_wait(island.rows))
        for child in island.worker.children["worker"].family()[1:]:
            child.kill()
        eventually(lambda: island.log().count("status_batch_held") > before)

    eventually(lambda: island.rows.row(connection["id"])["last_sync_status"] == "completed")
    assert island.log().count("status_messages_given_back") <= 1


def test_one_batch_that_cannot_be_applied_holds_up_its_own_connections_alone(island: Island) -> None:
    locked, *others = island.rows.connections(20)

    with held(island.rows, locked["id"]):
        island.service.send(a_sync_message(locked))
        eventually(lambda: batches_that_wait(island.rows))
        island.service.send(*completions(others))
        eventually(lambda: operations_of(island, others) == len(others), within=20)

    eventually(lambda: island.rows.row(locked["id"])["last_sync_status"] == "completed", within=40)


def test_what_was_returned_too_often_is_moved_to_safety_with_all_that_it_says_and_applied(island: Island) -> None:
    connections = island.rows.connections(20)
    island.worker.stop("worker")
    island.service.send_raw("7", headers={"x-theirs": "kept"}, content_type="text/plain", message_id="7")
    island.service.send(*completions(connections))
    for _ in range(12):
        returns(island.service)

    island.worker.start("worker")

    eventually(lambda: operations_of(island, connections) == len(connections))
    assert "status_messages_moved" in island.log()
    eventually(lambda: island.service.waiting(DEAD) == 1)
    (letter,) = island.service.look()
    assert (letter.headers["x-theirs"], letter.content_type, letter.message_id) == ("kept", "text/plain", "7")
    eventually(lambda: island.service.waiting() == 0)
    # On 3.10 a queue returns this only when its consumer is gone.
    island.worker.stop("worker")
    assert island.service.waiting() == 0
    island.worker.start("worker")


def test_a_worker_that_is_refused_waits_leaks_nothing_and_comes_back(island: Island) -> None:
    taken = Service(island.service.url, queue=f"status.{uuid4().hex[:8]}")
    (connection,) = island.rows.connections(1)

    def said() -> int:
        return island.worker.log("refused").count("broker_refuses")

    # The queue is somebody else's alone for a while.
    with channel(taken.url) as opened:
        opened.queue_declare(taken.queue, durable=True, exclusive=True, auto_delete=False)
        child = island.worker.launch("worker", as_name="refused", STATUS_QUEUES=taken.queue)
        eventually(said, within=60)
        leader, sockets = psutil.Process(child.family()[0].pid), list[int]()
        attempts = island.worker.log("refused").count("Restarting") + 40
        eventually(lambda: sockets.append(len(leader.net_connections("tcp"))) or len(sockets) > attempts)

    eventually(lambda: taken.exists() and taken.consumers(), within=60)
    taken.send(a_sync_message(connection))
    eventually(lambda: island.rows.row(connection["id"])["last_sync_status"] == "completed")
    island.worker.stop("refused")
    taken.delete(taken.queue)

    assert said() == 1
    assert max(sockets) <= 2
