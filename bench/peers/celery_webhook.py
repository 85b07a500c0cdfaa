"""A stock Celery task that posts, with Celery's own retries."""

from __future__ import annotations

import os
from typing import Any

import requests
from celery import Celery
from kombu import Queue

QUEUE = "bench_webhooks"
TIMEOUT = (3, 10)

app = Celery("peer", broker=os.environ["RABBITMQ_URL"])
app.conf.update(
    task_queues=[Queue(QUEUE)],
    task_default_queue=QUEUE,
    task_ignore_result=True,
    control_queue_exclusive=False,
    control_queue_durable=True,
)


@app.task(  # type: ignore[untyped-decorator]
    name="bench.deliver", autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=5
)
def deliver(body: dict[str, Any]) -> None:
    """Post one webhook."""
    headers = {"Authorization": os.environ["AUTOMATION_AUTH"]}
    answer = requests.post(os.environ["AUTOMATION_WEBHOOK_URL"], json=body, headers=headers, timeout=TIMEOUT)
    answer.raise_for_status()
