"""The status worker where there is no RabbitMQ: on kombu's Redis transport, as `make run` starts it then."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from kombu import Connection, Producer
from redis import Redis

from app.config import Settings
from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetterQueue
from devstack.valkey import Valkey
from tests.e2e.processes import Processes, environment
from tests.e2e.service import DEAD
from tests.factories import a_sync_message
from tests.integration.status.conftest import Database, completions
from tests.waiting import eventually

# The transport hands over one message at a time.
COUNT = 300


@dataclass(frozen=True)
class Broker:
    """A queue in Redis, written to as the stand-in external service does."""

    url: str

    def send(self, *bodies: Mapping[str, Any] | str | bytes) -> None:
        with Connection(self.url) as connection:
            queue = connection.SimpleQueue("data_source_status")
            producer = Producer(connection.default_channel)
            for body in bodies:
                content = body if isinstance(body, str | bytes) else json.dumps(body)
                producer.publish(
                    content, routing_key="data_source_status", content_type="application/json", content_encoding="utf-8"
                )
            queue.close()

    def send_in_envelope(self, *bodies: Any) -> None:
        """Send what no library of a broker would: any JSON where the transport's envelope has the body's text."""
        self.send(*["" for _ in bodies])
        with Redis.from_url(self.url) as redis:
            for body in bodies:
                envelope = json.loads(redis.rpop("data_source_status"))
                envelope["properties"].pop("body_encoding")
                redis.lpush("data_source_status", json.dumps(envelope | {"body": body}))

    def reasons(self) -> list[str]:
        with open_confirmed_connection(self.url) as connection:
            return [letter.reason for letter in DeadLetterQueue(connection).list_oldest(limit=1_000)]

    def waiting(self, queue: str = "data_source_status") -> int:
        """Return how many messages wait; a queue is a Redis list, and an empty list does not exist."""
        with Redis.from_url(self.url) as redis:
            return int(redis.llen(queue))

    def drop(self) -> None:
        with Redis.from_url(self.url) as redis:
            redis.delete(DEAD)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("redis") / "valkey", keeps=True, environ=os.environ) as started:
        yield started


@pytest.fixture(scope="module")
def broker(valkey: Valkey) -> Broker:
    return Broker(valkey.url)


@pytest.fixture(scope="module")
def redis_worker(
    broker: Broker,
    valkey: Valkey,
    settings: Settings,
    flask_app: Flask,
    database: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Processes]:
    assert flask_app.extensions["settings"] is settings
    environ = environment(
        database_urls=database, redis_url=valkey.url, rabbitmq_url=broker.url, webhook_url="http://127.0.0.1:1/webhook"
    )
    with Processes(environ, directory=tmp_path_factory.mktemp("redis_worker")) as processes:
        processes.start("worker")
        yield processes
        processes.stop_all()


def test_a_flood_over_redis_is_applied_and_bad_messages_are_dead_lettered(
    redis_worker: Processes, broker: Broker, database_rows: Database
) -> None:
    connections = database_rows.connections(COUNT)

    broker.send("no JSON", *completions(connections), a_sync_message(connections[0], "sync_exploded"))

    eventually(lambda: database_rows.completed() == COUNT, within=30)
    eventually(lambda: broker.waiting(DEAD) == 2)
    assert sorted(broker.reasons()) == ["not_json", "wrong_shape"]
    assert broker.waiting() == 0
    assert redis_worker.children["worker"].is_running


def test_what_an_envelope_holds_instead_of_text_is_dead_lettered_and_holds_nothing_up(
    redis_worker: Processes, broker: Broker, database_rows: Database
) -> None:
    broker.drop()
    (connection,) = database_rows.connections(1)
    report = a_sync_message(connection, "sync_completed")
    redis_worker.stop("worker")
    broker.send_in_envelope("\ud800", None, 7, [1], report)
    broker.send(report)

    redis_worker.start("worker")

    eventually(lambda: database_rows.completed() == 1)
    eventually(lambda: broker.waiting(DEAD) == 5)
    assert sorted(broker.reasons()) == [*["not_json"] * 4, "undecodable"]
    assert database_rows("SELECT count(*) AS n FROM operations") == [{"n": 1}]
    assert broker.waiting() == 0


def test_the_operators_commands_work_over_redis(
    redis_worker: Processes, broker: Broker, database_rows: Database
) -> None:
    broker.drop()
    (wanted,) = database_rows.connections(1)
    database_rows("UPDATE data_source_connections SET deleted_at = now()")
    broker.send(a_sync_message(wanted, "sync_completed"), "no JSON")
    eventually(lambda: broker.waiting(DEAD) == 2)
    command = ("flask", "--app", "app", "dead-letters")

    assert "2 dead letters" in redis_worker.command(*command, "list")
    database_rows("UPDATE data_source_connections SET deleted_at = NULL")
    assert "Replayed 2" in redis_worker.command(*command, "replay")
    eventually(lambda: database_rows.completed() == 1)
    eventually(lambda: broker.waiting(DEAD) == 1)
    assert broker.reasons() == ["not_json"]
    assert "Dropped 1" in redis_worker.command(*command, "drop", "--yes")
    assert broker.waiting(DEAD) == 0


def test_a_worker_stopped_in_the_middle_of_a_flood_over_redis_loses_nothing(
    redis_worker: Processes, broker: Broker, database_rows: Database
) -> None:
    connections = database_rows.connections(COUNT)
    broker.send(*completions(connections))
    eventually(database_rows.completed)

    redis_worker.stop("worker")
    # What was applied at the last moment may come again, which changes nothing.
    assert database_rows.completed() + broker.waiting() >= COUNT
    redis_worker.start("worker")

    eventually(lambda: database_rows.completed() == COUNT and broker.waiting() == 0, within=30)
    assert database_rows("SELECT count(*) AS n FROM operations") == [{"n": COUNT}]
