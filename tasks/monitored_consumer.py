"""What our workers' consumers do besides Celery's own: wait where they are refused, and send events together.

A broker that refuses (no such virtual host, no right to a queue, a queue that was declared otherwise) says so in no
time, and Celery asks again at once. Here each attempt closes what it has opened, the next one waits, and the log says
why when that changes.

Celery's own events, which Flower shows, are sent together, for one message a step costs as much as half the task. And
by the thread of the worker's loop alone. Celery lets a thread of the pool send what has gathered, over the connection
whose heartbeats the loop reads: both read at once, one of them waits for bytes that the other has, in a loop that keeps
the processor, and nothing is delivered until the broker gives the connection up. See decision 0006.

A worker that does not consume any more looks like one that has nothing to do. Each looks at itself, says so and
connects anew; while all is well it touches a file, if there is to be one, for whoever has to end a process that hangs.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import structlog
from amqp.exceptions import ConsumerCancelled
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from app import metrics
from app.outbound.broker import BrokerRefusal, Message, Queue

log = structlog.get_logger()

# Soon enough for whoever watches, in seconds.
EVENTS_FLUSH_INTERVAL_SECONDS = 0.2
# Between attempts at a broker that refuses, in seconds, the last again and again: somebody has to change something.
REFUSED_RETRY_SCHEDULE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Before a queue that was deleted is declared again. A quorum queue of RabbitMQ 3.10 that is back within a few
# milliseconds takes messages and gives none out.
DELETED_QUEUE_PAUSE_SECONDS = 1.0
# Between a worker's looks at itself, in seconds.
SELF_CHECK_INTERVAL_SECONDS = 5.0
# A worker that is told to end does so within this.
_SHUTDOWN_CHECK_INTERVAL_SECONDS = 0.2


class ConsumerLost(ConnectionError):
    """A queue of the worker's is not consumed any more: it costs the connection, and the next one consumes again."""


class MonitoredConsumer(Consumer):
    """Celery's consumer, but that it waits where it is refused, and that a task's events wait for those of others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal_count = 0
        self._last_refusal_reason: str | None = None
        # The queues that it was started with.
        self._expected_queues: dict[str, Queue] = {}

    def connect(self) -> Any:
        """Connect, and prepare what is consumed; what was opened in vain is closed."""
        connection = super().connect()
        try:
            self.prepare_connection(connection)
        except BaseException:
            if self.hub and (opened := getattr(connection.connection, "sock", None)) is not None:
                self.hub.remove_reader(opened)
            connection.collect()
            raise
        return connection

    def prepare_connection(self, connection: Any) -> None:
        """Do what a connection needs before Celery consumes from it."""

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait, if the broker refused."""
        if not self._wait_if_refused(exc):
            super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Clean up, and wait if the broker refused."""
        if isinstance(exc, ConsumerCancelled):
            self._log_lost_consumer(cancelled_by="the broker", queues=sorted(self._expected_queues))
            _wait(DELETED_QUEUE_PAUSE_SECONDS)
        super().on_connection_error_after_connected(exc)
        self._wait_if_refused(exc)

    def on_ready(self) -> None:
        """Forget what was refused before this connection consumed."""
        if self._last_refusal_reason is not None:
            log.info("broker_accepts_again", attempts=self._refusal_count)
        self._refusal_count, self._last_refusal_reason = 0, None
        super().on_ready()

    def _wait_if_refused(self, problem: Exception) -> bool:
        if not isinstance(problem, BrokerRefusal):
            return False
        wait = REFUSED_RETRY_SCHEDULE_SECONDS[min(self._refusal_count, len(REFUSED_RETRY_SCHEDULE_SECONDS) - 1)]
        self._refusal_count += 1
        if (reason := str(problem)) != self._last_refusal_reason:
            log.error("broker_refuses", reason=reason, seconds=wait)
            self._last_refusal_reason = reason
        _wait(wait)
        return True

    def on_send_event_buffered(self) -> None:
        """Leave the event in the buffer, where Celery would send it in the loop's next turn."""

    def register_with_event_loop(self, hub: Any) -> None:
        """Send what is in the buffer; the entry ends with the connection that it was made for."""
        super().register_with_event_loop(hub)
        self._expected_queues = self._expected_queues or dict(self.app.amqp.queues.consume_from)
        # A full buffer is what would make another thread send it. There is one dispatcher for each connection.
        self.event_dispatcher.buffer_limit = sys.maxsize
        hub.call_repeatedly(EVENTS_FLUSH_INTERVAL_SECONDS, self._flush_events)
        hub.call_repeatedly(SELF_CHECK_INTERVAL_SECONDS, self._check_queues_are_consumed)

    @property
    def is_paused(self) -> bool:
        """Whether it has stopped consuming on purpose."""
        return False

    def _check_queues_are_consumed(self) -> None:
        """Touch the file, if every queue is consumed. Raises ConsumerLost, having asked for the queues again."""
        consumed = {queue.name for queue in self.task_consumer.queues if self.task_consumer.consuming_from(queue)}
        lost = sorted(self._expected_queues.keys() - consumed)
        if lost and not self.is_paused:
            self._log_lost_consumer(cancelled_by="somebody", queues=lost)
            for name in lost:
                self.app.amqp.queues.select_add(self._expected_queues[name])
            raise ConsumerLost(", ".join(lost))
        if (file := self.app.conf.rita_heartbeat_file) is not None:
            file.touch()

    def _log_lost_consumer(self, *, cancelled_by: str, queues: list[str]) -> None:
        metrics.count_lost_consumer()
        log.error("consumer_lost", cancelled_by=cancelled_by, queues=queues)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Refuse what cannot be unpacked."""
        self.reject_invalid_job(message, reason="undecodable", error=type(exc).__name__)

    def reject_invalid_job(self, message: Message, **fields: Any) -> None:
        """Refuse a message, in a line that repeats nothing of it: whoever may publish wrote it."""
        log.error("job_refused", bytes=len(message.body or ""), **fields)
        message.reject_log_error(log, self.connection_errors)


def _wait(seconds: float) -> None:
    """Wait; raises what ends the worker, if it is told to end meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        maybe_shutdown()
        time.sleep(min(left, _SHUTDOWN_CHECK_INTERVAL_SECONDS))
