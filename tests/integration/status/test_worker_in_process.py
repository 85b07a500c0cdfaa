"""The status worker inside this process, by Celery's own testing helper: the consumer between broker and task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from celery.contrib.testing.worker import start_worker
from flask import Flask
from redis import Redis

from app.domain.aggregate import Change
from app.domain.status_messages import Report, parse_report
from app.outbound import events
from app.outbound.broker import Message
from app.outbound.dead_letters import DeadLetter
from tests.e2e.service import STATUS, Service
from tests.factories import a_sync_message
from tests.integration.status.conftest import Database, completions
from tests.status_worker import consuming
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def consumer(celery_module: ModuleType) -> ModuleType:
    """The worker's consumer, to plant faults in."""
    assert celery_module
    from tasks import consumer  # noqa: PLC0415 - not before the environment is set

    return consumer


@pytest.fixture
def service(celery_module: ModuleType, rabbitmq_url: str, app: Flask) -> Iterator[Service]:
    """The external service's queue, with a worker of this process bound to it."""
    assert app
    with consuming(celery_module, rabbitmq_url) as made:
        yield made


def test_a_fault_of_the_consumers_own_costs_the_connection_and_nothing_else(
    service: Service, database_rows: Database, consumer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections, faults = database_rows.connections(30), iter([RuntimeError("a fault of ours")])
    honest = consumer.broker.build_task_message

    def faulty_once(*args: Any, **kwargs: Any) -> Message:
        for fault in faults:
            raise fault
        return honest(*args, **kwargs)

    monkeypatch.setattr(consumer.broker, "build_task_message", faulty_once)

    service.send(*completions(connections))

    eventually(lambda: database_rows.completed() == len(connections))
    assert next(faults, None) is None, "it was never met"
    eventually(lambda: service.waiting() == 0)


def test_a_message_that_our_code_stumbles_over_is_kept_and_the_others_are_applied(
    service: Service,
    database_rows: Database,
    letters: Callable[[], list[DeadLetter]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = database_rows.connections(3)

    def stumble(text: str, *, queue_name: str) -> Report:
        if connections[1]["id"] in text:
            raise KeyError(connections[1]["id"])
        return parse_report(text, queue_name=queue_name)

    monkeypatch.setattr("tasks.status.parse_report", stumble)

    service.send(*completions(connections))

    eventually(lambda: database_rows.completed() == 2)
    eventually(lambda: [(letter.reason, letter.detail) for letter in letters()] == [("apply_failed", "KeyError")])


@pytest.mark.parametrize("place", ["event_for_change", "publish_changes"])
def test_a_fault_after_the_commit_reapplies_nothing_and_costs_nobody_elses_event(
    service: Service,
    database_rows: Database,
    redis: Redis,
    letters: Callable[[], list[DeadLetter]],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    connections = database_rows.connections(10)
    bad, *others = connections
    honest, met = getattr(events, place), Event()

    def stumble(about: Any, **told: Any) -> Any:
        changes = [about] if isinstance(about, Change) else about
        if any(str(change.connection.id) == bad["id"] for change in changes):
            met.set()
            raise KeyError(bad["id"])
        return honest(about, **told)

    monkeypatch.setattr(events, place, stumble)

    # Those before it and with it are one batch, what comes after it another.
    service.send(*completions(connections))
    eventually(met.is_set)
    eventually(lambda: database_rows.completed() == len(connections))
    late = database_rows.connections(3)
    service.send(*completions(late))

    eventually(lambda: database_rows.completed() == len(connections) + len(late))
    eventually(lambda: service.waiting() == 0)
    assert [len(database_rows.operations(each["id"])) for each in connections + late] == [1] * 13
    assert letters() == []
    told = others + late if place == "event_for_change" else late
    channels = [events.channel_of_organization(UUID(each["organization_id"])) for each in told]
    eventually(lambda: [redis.xlen(f"{channel}:events") for channel in channels] == [1] * len(told))


def test_a_queue_that_is_deleted_under_the_worker_is_declared_and_consumed_again(
    service: Service, database_rows: Database
) -> None:
    first, *connections = database_rows.connections(4)
    service.send(*completions([first]))
    eventually(lambda: database_rows.completed() == 1)

    service.delete(STATUS)
    eventually(lambda: service.exists() and service.consumers())
    service.send(*completions(connections))

    eventually(lambda: database_rows.completed() == 4)


@pytest.mark.usefixtures("app")
def test_a_worker_that_consumes_touches_a_file_and_one_that_has_stopped_says_so_and_goes_on(
    celery_module: ModuleType,
    rabbitmq_url: str,
    database_rows: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, lost, heartbeat = Service(rabbitmq_url, queue=STATUS), Event(), tmp_path / "consumes"
    service.delete(STATUS)
    service.declare()
    monkeypatch.setattr("tasks.monitored_consumer.SELF_CHECK_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr("app.metrics.count_lost_consumer", lost.set)
    monkeypatch.setitem(celery_module.status_app.conf, "rita_heartbeat_file", heartbeat)
    (connection,) = database_rows.connections(1)

    with start_worker(celery_module.status_app, pool="threads", concurrency=2, perform_ping_check=False) as worker:
        eventually(heartbeat.exists)
        # What a command of Celery's did.
        worker.consumer.call_soon(worker.consumer.cancel_task_queue, STATUS)
        eventually(lost.is_set)
        service.send(*completions([connection]))
        eventually(lambda: database_rows.completed() == 1)
        heartbeat.unlink()
        eventually(heartbeat.exists)
    service.delete(STATUS)


def test_messages_are_applied_and_bad_ones_buried_by_a_worker_of_this_process(
    service: Service, database_rows: Database, letters: Callable[[], list[DeadLetter]]
) -> None:
    connections = database_rows.connections(30)

    service.send(*completions(connections), a_sync_message(connections[0], "sync_exploded"))
    service.send_raw("no JSON", '{"task": "status.apply_messages", "id": "x", "args": [[]], "kwargs": {}}')

    eventually(lambda: database_rows.completed() == len(connections))
    eventually(lambda: len(letters()) == 3)
    assert sorted(letter.reason for letter in letters()) == ["enveloped", "not_json", "wrong_shape"]
    assert {letter.queue for letter in letters()} == {STATUS}
    assert service.waiting() == 0
