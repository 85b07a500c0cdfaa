"""The status worker in this process, bound to a queue of the broker's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from celery.contrib.testing.worker import start_worker

from tests.e2e.service import STATUS, Service


@contextmanager
def consuming(celery_module: ModuleType, rabbitmq_url: str) -> Iterator[Service]:
    """Give the external service's end of the status queue, new and empty, with a worker bound to it."""
    made = Service(rabbitmq_url, queue=STATUS)
    made.delete(STATUS)
    made.declare()
    # The heartbeat is what wakes the worker's loop, so that it sees that it should end.
    celery_module.status_app.conf.update(broker_heartbeat=2, worker_enable_remote_control=False)
    with start_worker(celery_module.status_app, pool="threads", concurrency=2, perform_ping_check=False):
        yield made
    made.delete(STATUS)
