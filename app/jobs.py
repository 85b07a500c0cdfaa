"""Our wish to run a task: a hint, sent by name after the commit. A lost hint delays, never loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from celery import Celery

from app.config import Settings
from app.domain.delivery import Delivery
from app.outbound.broker import TASKS, BrokerError, Queue, connected, task_queue, tls_options
from app.outbound.inspection import look_at

log = structlog.get_logger()

# Verifications have a queue of their own: somebody waits for them at a screen.
WEBHOOKS, VERIFICATIONS, HOUSEKEEPING = "webhooks", "verifications", "housekeeping"
DELIVER_WEBHOOK = "webhooks.deliver"

# While so many jobs wait, one that is overdue is most likely among them; and so many are sent again all the same.
LONG_QUEUE, A_FEW = 500, 10

# A person waits behind a request, and the dispatcher stands behind the hint: try once more, then let it be.
_BRIEF = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


def task_queues() -> list[Queue]:
    """Return the queues of Celery's own messages; who sends and who works declare them alike."""
    return [task_queue(name) for name in (WEBHOOKS, VERIFICATIONS, HOUSEKEEPING)]


def queue_of(delivery: Delivery) -> str:
    """Return where a delivery's job goes."""
    return VERIFICATIONS if delivery.kind == "verify" else WEBHOOKS


def through(queue: str) -> dict[str, str]:
    """Return the options with which a task goes through our own exchange to a queue.

    Celery would publish to the broker's default exchange, where a right to write is one to every queue that there is.
    """
    return {"exchange": TASKS, "routing_key": queue}


class Jobs:
    """Sends tasks by name; imports none of them."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.rabbitmq_url
        self._celery = Celery("rita-jobs", broker=settings.rabbitmq_url, set_as_current=False)
        self._celery.conf.update(
            task_queues=task_queues(),
            task_create_missing_queues=False,
            task_publish_retry_policy=_BRIEF,
            task_ignore_result=True,
            broker_use_ssl=tls_options(settings.rabbitmq_url),
            broker_connection_timeout=1,
            broker_pool_acquire_timeout=1,
            broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2}
            if settings.rabbitmq_url.startswith("redis")
            else {"read_timeout": 3, "write_timeout": 3},
        )

    def deliver_webhook(self, delivery: Delivery) -> bool:
        """Ask a worker to post an operation's webhook; False if the broker could not be told.

        It does not wait for the broker's word: a job that gets lost on the way is sent again by the dispatcher.
        """
        try:
            self._send(delivery)
        except (*BrokerError, OSError) as problem:
            log.warning("job_not_sent", operation_id=str(delivery.operation_id), error=type(problem).__name__)
            return False
        return True

    def deliver_webhooks(
        self, deliveries: Sequence[Delivery], *, overdue: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], Sequence[Delivery]]:
        """Ask for several and have the broker's word for each; return those it was told of, and those it could not be.

        Of those whose job is `overdue`, longest first, no more are sent again than the queue has room for: where many
        wait, theirs are among them, and each copy is one more to wait for. A few always are, for theirs may be lost.

        Behind this stands nobody, so it takes a new connection: one that has died unnoticed would swallow them all.
        """
        sent: list[Delivery] = []
        wanted = [*deliveries, *overdue]
        try:
            with connected(self._url) as connection:
                wanted = [*deliveries]
                for queue in (VERIFICATIONS, WEBHOOKS):
                    again = [delivery for delivery in overdue if queue_of(delivery) == queue]
                    room = LONG_QUEUE - (look_at(connection, queue).messages or 0) if again else 0
                    wanted += again[: max(A_FEW, room)]
                for delivery in wanted:
                    self._send(delivery, connection=connection)
                    sent.append(delivery)
        except (*BrokerError, OSError) as problem:
            log.warning("jobs_not_sent", count=len(wanted) - len(sent), error=type(problem).__name__)
        return sent, wanted[len(sent) :]

    def _send(self, delivery: Delivery, **options: Any) -> None:
        self._celery.send_task(
            DELIVER_WEBHOOK,
            args=[str(delivery.operation_id)],
            kwargs={"kind": delivery.kind, "organization_id": str(delivery.organization_id)},
            queue=queue_of(delivery),
            **through(queue_of(delivery)),
            **options,
        )
