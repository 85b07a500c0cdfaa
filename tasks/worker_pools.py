"""The lanes of a webhook worker: what a person waits for at a screen never stands behind what nobody does.

Syncs have the worker's threads, as many as it was started with. Verifications have threads of their own, and so has
housekeeping, which finds lost jobs and ends what is overdue. Each queue's jobs are fetched apart from the others', too:
a broker that sent so many in all would send nothing but syncs. See `docs/decisions/0027-queues-and-shares.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.concurrency import thread

from app.jobs import HOUSEKEEPING, VERIFICATIONS
from app.outbound.broker import Message, disable_body_decoding
from tasks import job_validation
from tasks.monitored_consumer import MonitoredConsumer

# The sweeps are short; two, so that neither waits for the other.
HOUSEKEEPING_THREADS = 2


def dedicated_threads_by_queue(worker_threads: int) -> dict[str, int]:
    """Return how many threads the queues have that do not share the worker's own."""
    return {VERIFICATIONS: max(1, worker_threads // 2), HOUSEKEEPING: HOUSEKEEPING_THREADS}


class PerQueueThreadPool(thread.TaskPool):
    """Celery's pool of threads, with some apart for each queue that must not wait for the others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        threads = dedicated_threads_by_queue(self.limit)
        self._executors_by_queue = {name: ThreadPoolExecutor(count) for name, count in threads.items()}

    def on_apply(self, target: Any, args: Any = None, *rest: Any, **options: Any) -> thread.ApplyResult:
        """Run a task by its queue's threads; `args` are those of Celery's tracer: name, id, the request's fields."""
        executor = self._executors_by_queue.get(args[2]["delivery_info"]["routing_key"]) if args else None
        if executor is None:
            return super().on_apply(target, args, *rest, **options)
        callbacks = (options.get("callback"), options.get("accept_callback"))
        return thread.ApplyResult(executor.submit(thread.apply_target, target, args, options.get("kwargs"), *callbacks))

    def on_stop(self) -> None:
        """Let what runs end, and drop what waits, which the broker still has."""
        for executor in self._executors_by_queue.values():
            executor.shutdown(cancel_futures=True)
        super().on_stop()


class WebhookConsumer(MonitoredConsumer):
    """The consumer of a webhook worker: so many unacknowledged jobs of each queue, instead of all queues together."""

    def register_with_event_loop(self, hub: Any) -> None:
        """Have RabbitMQ count for each consumer, before the first is started.

        Celery asks RabbitMQ 4 for that, and earlier ones to count for the channel:
        https://www.rabbitmq.com/docs/consumer-prefetch.
        """
        super().register_with_event_loop(hub)
        if self.qos_global:
            self.task_consumer.qos(prefetch_count=0, apply_global=True)
            self.task_consumer.qos(prefetch_count=self.initial_prefetch_count)
            # What Celery would say again, in its loop's first turn, for the whole channel.
            self.qos.callback = self.task_consumer.qos

    def prepare_connection(self, connection: Any) -> None:
        """Have no body unpacked before it is known to be a job's."""
        disable_body_decoding(connection.default_channel)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], None]:
        """Return what takes each delivery: Celery's own, of what is left of it."""
        # Celery's own tasks run others.
        tasks = {name: task.run for name, task in self.app.tasks.items() if not name.startswith("celery.")}
        handle: Callable[[Message], None] = super().create_task_handler(*args, **options)

        def take(message: Message) -> None:
            try:
                job_validation.validate_and_rewrite_job(message, functions_by_task_name=tasks)
            except job_validation.InvalidJob as refusal:
                self.reject_invalid_job(message, **refusal.log_fields)
            else:
                handle(message)

        return take
