"""The status worker inside this process, by Celery's own testing helper: the consumer between broker and task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from celery.contrib.testing.worker import start_worker
from flask import Flask

from app.outbound.broker import DeadLetter
from tests.e2e.service import STATUS, Service
from tests.factories import a_sync_message
from tests.integration.status.conftest import Database, completions
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def service(celery_module: ModuleType, rabbitmq_url: str, app: Flask) -> Iterator[Service]:
    """The external service's queue, with a worker of this process bound to it."""
    assert app
    made = Service(rabbitmq_url, queue=STATUS)
    made.delete(STATUS)
    made.declare()
    # The heartbeat is what wakes the worker's loop, so that it sees that it should end.
    celery_module.status_app.conf.update(broker_heartbeat=2, worker_enable_remote_control=False)
    with start_worker(celery_module.status_app, pool="threads", concurrency=2, perform_ping_check=False):
        yield made
    made.delete(STATUS)


def test_messages_are_applied_and_bad_ones_buried_by_a_worker_of_this_process(
    service: Service, database_rows: Database, letters: Callable[[], list[DeadLetter]]
) -> None:
    connections = database_rows.connections(30)

    service.send(*completions(connections), a_sync_message(connections[0], "sync_exploded"))
    service.send_raw("no JSON", '{"task": "status.apply_messages", "id": "x", "args": [[]], "kwargs": {}}')

    eventually(lambda: database_rows.completed() == len(connections))
    eventually(lambda: len(letters()) == 3)
    assert [letter.reason for letter in letters()] == ["wrong_shape", "not_json", "wrong_shape"]
    assert {letter.queue for letter in letters()} == {STATUS}
    assert service.waiting() == 0
