"""A stock Celery task for each status message: one task, one transaction."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from kombu import Queue

from bench.peers import status_work

QUEUE = "bench_status"

app = Celery("peer", broker=os.environ["RABBITMQ_URL"])
app.conf.update(
    task_queues=[Queue(QUEUE)],
    task_default_queue=QUEUE,
    task_ignore_result=True,
    # Acknowledged after the commit, as the product does.
    task_acks_late=True,
    # The control queue of a worker that was just stopped is still there.
    control_queue_exclusive=False,
    control_queue_durable=True,
)


@app.task(name="bench.apply_status")  # type: ignore[untyped-decorator]
def apply_status(message: dict[str, Any]) -> None:
    """Apply one message."""
    status_work.apply(message)
