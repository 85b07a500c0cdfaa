"""Celery's consumer for a queue that is not Celery's: raw JSON in, batches of it to the pool as one request each.

What has arrived is buffered, and whenever a child of the pool is free, up to LARGEST_BATCH of it go there as one Celery
request, whose acknowledgement acknowledges them all. So a lone message goes at once, and a flood goes in large batches.
A fault in here costs the connection, never the worker: see `StatusConsumer._guarded`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from celery.bootsteps import RUN
from celery.worker.request import Request
from celery.worker.state import active_requests

from app import figures
from app.domain.messages import Unacceptable, raw_of, text_of
from app.outbound.broker import (
    DEAD_LETTERS,
    DeadLetter,
    Message,
    acknowledge,
    acknowledge_oldest,
    bury,
    declare,
    receive_raw,
    task_message,
)
from app.outbound.read_ahead import read_ahead
from tasks.monitored import MonitoredConsumer

log = structlog.get_logger()

APPLY_MESSAGES = "status.apply_messages"

# Beyond this a larger batch gains little, and costs everyone behind it its whole time.
LARGEST_BATCH = 500
# A request must fit a pipe (64 KiB on Linux) with its envelope: one that is written in parts to its child while the
# worker is told to stop may stay half written, and the child would wait for the rest of it.
LARGEST_REQUEST = 40 * 1024
# Batches that the broker may send ahead of those being applied.
AHEAD = 2
# A child that is free takes up a batch at once. After this long, in seconds, it hangs or the pool lost the batch, as
# Celery's was seen to do when it had just ended a child; longer than what a child waits for a lock (`lock_timeout`).
TAKEN_UP_WITHIN = 15.0
LOOK_EVERY = 5.0
# After a batch that could not be applied (the database is away), in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


class LoopFault(ConnectionError):
    """A fault of this code in the worker's loop: it costs the connection, and what is not settled comes again."""


@dataclass(eq=False)
class Batch:
    """Messages that a child applies together, in the order of their arrival; `applied` is None while it does."""

    messages: list[Message]
    task_id: str
    handed_over: float
    applied: bool | None = None


class BatchRequest(Request):
    """A batch that always settles: one that was terminated, too, gives its messages back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The body holds the messages already; here they would go through the pipe a second time.
        self._request_dict["args"] = ()

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:
        # Celery acknowledges what is revoked, and takes for revoked what a child has begun that was told to end before.
        self.reject(requeue=True)
        log.warning("status_batch_revoked", task_id=self.id)
        super()._announce_revoked(*args, **kwargs)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Give back what Celery leaves open."""
        super().on_failure(exc_info, *args, **kwargs)
        if not self.acknowledged:
            self.reject(requeue=True)


class StatusConsumer(MonitoredConsumer):
    """Consumes the external service's queues. Headers and a `task` key in a raw message are never looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most_in_flight = 1
        self._inbox: deque[Message] = deque()
        # Handed over and not yet acknowledged or given back, oldest first.
        self._batches: deque[Batch] = deque()
        self._generation = 0
        self._hand_over_soon = False
        self._pause: float = 0.0
        self._paused = False

    def connect(self) -> Any:
        """Connect, and see that the queues exist as their publisher declares them."""
        # One batch for each child; more would only wait there.
        self._most_in_flight = self.pool.num_processes
        self.initial_prefetch_count = LARGEST_BATCH * (self._most_in_flight + AHEAD)
        connection = super().connect()
        declare(connection.default_channel, [*self.app.amqp.queues.consume_from, DEAD_LETTERS])
        receive_raw(connection.default_channel)
        read_ahead(connection, soon=self._soon)
        return connection

    def register_with_event_loop(self, hub: Any) -> None:
        """Look after batches as long as this connection lasts."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(LOOK_EVERY, self._guarded, self._look_after_batches)

    def create_task_handler(self, promise: Any = None) -> Callable[[Message], None]:  # noqa: ARG002 - Celery's signature
        """Return what takes each delivery. Called once for each connection: what the last one left is the broker's."""
        self._generation += 1
        self._inbox.clear()
        self._batches.clear()
        self._paused = False
        # The loop forgot what it was to call when the connection broke.
        self._hand_over_soon = False
        return self._take

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Bury what kombu cannot even unpack, instead of acknowledging it away."""
        self._guarded(self._bury, message, Unacceptable("undecodable", type(exc).__name__))

    def _guarded(self, act: Callable[..., object], *args: Any) -> None:
        """Take a step of the loop: a fault of its own must not end the process, nor leave a batch unsettled."""
        try:
            act(*args)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as fault:
            log.exception("status_consumer_fault")
            raise LoopFault from fault

    def _soon(self, act: Callable[..., object], *args: Any) -> None:
        self.call_soon(self._guarded, act, *args)

    def _take(self, message: Message) -> None:
        self._inbox.append(message)
        self._hand_over_in_turn()

    def _hand_over_in_turn(self) -> None:
        # In the loop's next turn, when all that has arrived in this one is in the inbox.
        if not self._hand_over_soon:
            self._hand_over_soon = True
            self._soon(self._hand_over)

    def _hand_over(self) -> None:
        self._hand_over_soon = False
        # Not while stopping: what the pool has not got then goes back to the queue.
        may_submit = not self._paused and self.blueprint.state == RUN
        while may_submit and self._inbox and self._in_flight() < self._most_in_flight:
            self._submit(self._next_batch())

    def _in_flight(self) -> int:
        return sum(batch.applied is None for batch in self._batches)

    def _next_batch(self) -> list[Message]:
        """Take from the inbox what fits one request, and at least one message."""
        batch = [self._inbox.popleft()]
        size = len(raw_of(batch[0].body))
        while self._inbox and len(batch) < LARGEST_BATCH:
            size += len(raw_of(self._inbox[0].body))
            if size > LARGEST_REQUEST:
                break
            batch.append(self._inbox.popleft())
        return batch

    def _submit(self, batch: Sequence[Message]) -> None:
        raw: list[tuple[str, str]] = []
        messages: list[Message] = []
        for message in batch:
            queue = str((message.delivery_info or {}).get("routing_key", ""))
            try:
                raw.append((queue, text_of(message.body)))
            except Unacceptable as refusal:
                self._bury(message, refusal)
            else:
                messages.append(message)
        if not raw:
            return
        submitted = Batch(messages, task_id=str(uuid4()), handed_over=time.monotonic())
        self._batches.append(submitted)
        generation = self._generation

        def ack(*_: Any) -> None:
            self._soon(self._settle, submitted, generation, True)  # noqa: FBT003 - a callback takes no keywords

        def reject(*_: Any) -> None:
            self._soon(self._settle, submitted, generation, False)  # noqa: FBT003

        request = task_message(APPLY_MESSAGES, submitted.task_id, argument=raw, origin=self.hostname)
        self.strategies[APPLY_MESSAGES](request, None, ack, reject, self.on_task_message)

    def _look_after_batches(self) -> None:
        """Give up the connection if no child has taken up a batch in time: what is in it comes again."""
        taken_up = {request.id for request in active_requests}
        latest = time.monotonic() - TAKEN_UP_WITHIN
        waiting = [batch for batch in self._batches if batch.applied is None and batch.task_id not in taken_up]
        if any(batch.handed_over < latest for batch in waiting):
            raise RuntimeError("no child has taken up a batch of status messages")

    def _settle(self, batch: Batch, generation: int, applied: bool) -> None:  # noqa: FBT001 - see ack
        if generation != self._generation:
            # Their connection is gone, so they come again; what was applied is then a copy, which changes nothing.
            log.info("batch_comes_again", messages=len(batch.messages), applied=applied)
            return
        batch.applied = applied
        if applied:
            self._acknowledge()
            self._pause = 0.0
            # At once: this runs in the loop's turn, after which it waits for the network before it calls anything.
            self._hand_over()
            return
        figures.batch_given_back()
        # First stop, then give back, or the same messages come again at once.
        self._stop_for_a_while()
        for message in (*batch.messages, *self._inbox):
            message.reject_log_error(log, self.connection_errors, requeue=True)
        self._inbox.clear()
        self._batches.remove(batch)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is applied, batch by batch in one frame each as long as nothing older is open.

        Those behind an open one wait for it, though not many: a child that is held up must not use the window up.
        Should the connection break meanwhile, they come again as copies.
        """
        while self._batches and self._batches[0].applied:
            acknowledge_oldest(self._batches.popleft().messages, errors=self.connection_errors)
        waiting = [batch for batch in self._batches if batch.applied]
        if len(waiting) > AHEAD:
            for batch in waiting:
                self._batches.remove(batch)
                acknowledge(batch.messages, errors=self.connection_errors)

    def _stop_for_a_while(self) -> None:
        if self._paused or self.blueprint.state != RUN:
            return
        self._paused = True
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        log.warning("status_worker_paused", seconds=self._pause)
        self.task_consumer.cancel()
        self.timer.call_after(self._pause, self._guarded, (self._resume, self._generation))

    def _resume(self, generation: int) -> None:
        if generation == self._generation and self._paused:
            self._paused = False
            self.task_consumer.consume()
            self._hand_over_in_turn()

    def _bury(self, message: Message, refusal: Unacceptable) -> None:
        """Move a message to the dead letters: published, then acknowledged, in this order on one channel."""
        queue = str((message.delivery_info or {}).get("routing_key", ""))
        content_type = message.content_type or "application/json"
        letter = DeadLetter(
            raw_of(message.body), refusal.reason, detail=refusal.detail, queue=queue, content_type=content_type
        )
        bury(message.channel, [letter])
        figures.messages_buried([refusal.reason])
        message.ack_log_error(log, self.connection_errors)
        log.warning("status_message_refused", reason=refusal.reason, queue=queue, detail=refusal.detail)
