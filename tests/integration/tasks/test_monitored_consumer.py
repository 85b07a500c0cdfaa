"""What Flower is told by the webhook worker, whose tasks run in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from celery.events import EventDispatcher

from app.jobs import DELIVER_WEBHOOK_TASK, WEBHOOKS
from tests.integration.tasks.conftest import Job, a_worker
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

# With three steps to tell of each, some ten times as many as make Celery send what has gathered.
JOBS = 100


def test_only_the_thread_that_reads_the_connection_sends_what_is_told_of_tasks(
    celery_module: ModuleType, monkeypatch: pytest.MonkeyPatch, take_jobs: Callable[[], list[Job]]
) -> None:
    senders: list[str] = []
    flush = EventDispatcher.flush

    def noted(self: EventDispatcher, *args: Any, **options: Any) -> None:
        senders.append(threading.current_thread().name)
        flush(self, *args, **options)

    monkeypatch.setattr(EventDispatcher, "flush", noted)
    take_jobs()
    # Of no operation, so that each is over at once and the steps come as fast as they can.
    for _ in range(JOBS):
        celery_module.app.send_task(DELIVER_WEBHOOK_TASK, args=[str(uuid4())], queue=WEBHOOKS)
    with a_worker(celery_module) as done:
        eventually(lambda: len(done) == JOBS and senders, within=60)

    assert len(set(senders)) == 1
