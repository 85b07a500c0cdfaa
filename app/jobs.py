"""Our wish to run a task: a hint, sent by name after the commit. A lost hint delays, never loses."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import structlog
from celery import Celery

from app.config import Settings
from app.outbound.broker import BrokerError, Queue, task_queue

log = structlog.get_logger()

WEBHOOKS, HOUSEKEEPING = "webhooks", "housekeeping"
DELIVER_WEBHOOK = "webhooks.deliver"

# A person waits behind a press, and the dispatcher stands behind the hint: try once more, then let it be.
_BRIEF = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


def task_queues() -> list[Queue]:
    """Return the queues of Celery's own messages; who sends and who works declare them alike."""
    return [task_queue(name) for name in (WEBHOOKS, HOUSEKEEPING)]


class Jobs:
    """Sends tasks by name, without waiting for the broker's word; imports none of them."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("rita-jobs", broker=settings.rabbitmq_url, set_as_current=False)
        self._celery.conf.update(
            task_queues=task_queues(),
            task_create_missing_queues=False,
            task_publish_retry_policy=_BRIEF,
            task_send_sent_event=True,
            task_ignore_result=True,
            broker_connection_timeout=1,
            broker_pool_acquire_timeout=1,
            broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2}
            if settings.rabbitmq_url.startswith("redis")
            else {"read_timeout": 3, "write_timeout": 3},
        )

    def deliver_webhook(self, operation_id: UUID) -> bool:
        """Ask a worker to post an operation's webhook; False if the broker could not be told."""
        return not self.deliver_webhooks([operation_id])

    def deliver_webhooks(self, operation_ids: Iterable[UUID]) -> list[UUID]:
        """Ask for several; return those that the broker could not be told of."""
        unsent: list[UUID] = []
        for operation_id in operation_ids:
            if unsent:
                unsent.append(operation_id)
                continue
            try:
                self._celery.send_task(DELIVER_WEBHOOK, args=[str(operation_id)], queue=WEBHOOKS)
            except (BrokerError, OSError) as problem:
                # The row waits for the dispatcher.
                log.warning("job_not_sent", operation_id=str(operation_id), error=type(problem).__name__)
                unsent.append(operation_id)
        return unsent
