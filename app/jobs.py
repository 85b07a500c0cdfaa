"""Our wish to run a task: a hint, sent by name after the commit. A lost hint delays, never loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from celery import Celery

from app.config import Settings
from app.domain.delivery_job import DeliveryJob
from app.outbound import broker
from app.outbound.broker_inspection import inspect_queue

log = structlog.get_logger()

# Verifications have a queue of their own: somebody waits for them at a screen.
WEBHOOKS, VERIFICATIONS, HOUSEKEEPING = "webhooks", "verifications", "housekeeping"
DELIVER_WEBHOOK_TASK = "webhooks.deliver"

# While so many jobs wait, one that is overdue is most likely among them; and so many are sent again all the same.
LONG_QUEUE_LENGTH, MIN_OVERDUE_JOBS_RESENT = 500, 10

# A person waits behind a request, and the dispatcher stands behind the hint: try once more, then let it be.
_BRIEF_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


def task_queues() -> list[broker.Queue]:
    """Return the queues of Celery's own messages; who sends and who works declare them alike."""
    return [broker.celery_task_queue(name) for name in (WEBHOOKS, VERIFICATIONS, HOUSEKEEPING)]


def queue_name_for(delivery: DeliveryJob) -> str:
    """Return where a delivery's job goes."""
    return VERIFICATIONS if delivery.kind == "verify" else WEBHOOKS


def publish_options_for_queue(queue_name: str) -> dict[str, str]:
    """Return the options with which a task goes through our own exchange to a queue.

    Celery would publish to the broker's default exchange, where a right to write is one to every queue that there is.
    """
    return {"exchange": broker.TASK_EXCHANGE_NAME, "routing_key": queue_name}


class JobSender:
    """Sends tasks by name; imports none of them."""

    def __init__(self, settings: Settings) -> None:
        self._broker_url = settings.rabbitmq_url
        self._celery = Celery("rita-jobs", broker=settings.rabbitmq_url, set_as_current=False)
        is_redis = settings.rabbitmq_url.startswith("redis")
        redis_timeouts = {"socket_connect_timeout": 1, "socket_timeout": 2}
        self._celery.conf.update(
            task_queues=task_queues(),
            task_create_missing_queues=False,
            task_publish_retry_policy=_BRIEF_PUBLISH_RETRY_POLICY,
            task_ignore_result=True,
            broker_use_ssl=broker.broker_tls_options(settings.rabbitmq_url),
            broker_connection_timeout=1,
            broker_pool_acquire_timeout=1,
            broker_transport_options=redis_timeouts if is_redis else broker.SOCKET_TIMEOUT_OPTIONS,
        )

    def send_delivery_job(self, delivery: DeliveryJob) -> bool:
        """Ask a worker to post an operation's webhook; False if the broker could not be told.

        It does not wait for the broker's word: a job that gets lost on the way is sent again by the dispatcher.
        """
        try:
            self._send_task(delivery)
        except (*broker.BrokerError, OSError) as problem:
            log.warning("job_not_sent", operation_id=str(delivery.operation_id), error=type(problem).__name__)
            return False
        return True

    def send_delivery_jobs_confirmed(
        self, deliveries: Sequence[DeliveryJob], *, overdue: Sequence[DeliveryJob]
    ) -> tuple[Sequence[DeliveryJob], Sequence[DeliveryJob]]:
        """Ask for several and have the broker's word for each; return those it was told of, and those it could not be.

        Of those whose job is `overdue`, longest first, no more are sent again than the queue has room for: where many
        wait, theirs are among them, and each copy is one more to wait for. A few always are, for theirs may be lost.

        Behind this stands nobody, so it takes a new connection: one that has died unnoticed would swallow them all.
        """
        sent: list[DeliveryJob] = []
        wanted = [*deliveries, *overdue]
        try:
            with broker.open_confirmed_connection(self._broker_url) as connection:
                wanted = [*deliveries]
                for queue in (VERIFICATIONS, WEBHOOKS):
                    again = [delivery for delivery in overdue if queue_name_for(delivery) == queue]
                    room = LONG_QUEUE_LENGTH - (inspect_queue(connection, queue).messages or 0) if again else 0
                    wanted += again[: max(MIN_OVERDUE_JOBS_RESENT, room)]
                for delivery in wanted:
                    self._send_task(delivery, connection=connection)
                    sent.append(delivery)
        except (*broker.BrokerError, OSError) as problem:
            log.warning("jobs_not_sent", count=len(wanted) - len(sent), error=type(problem).__name__)
        return sent, wanted[len(sent) :]

    def _send_task(self, delivery: DeliveryJob, **options: Any) -> None:
        self._celery.send_task(
            DELIVER_WEBHOOK_TASK,
            args=[str(delivery.operation_id)],
            kwargs={"kind": delivery.kind, "organization_id": str(delivery.organization_id)},
            queue=queue_name_for(delivery),
            **publish_options_for_queue(queue_name_for(delivery)),
            **options,
        )
