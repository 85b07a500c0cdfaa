"""Celery's consumer for a queue that is not Celery's: raw JSON in, batches of it to the pool as one request each.

What has arrived is buffered, and whenever a child of the pool is free, up to LARGEST_BATCH of it go there as one Celery
request, whose acknowledgement acknowledges them all. So a lone message goes at once, and a flood goes in large batches.
What may go together is `tasks.inbox`'s to say; what could not be applied, `tasks.holding`'s. A fault in here costs the
connection, never the worker: see `StatusConsumer._guarded`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import structlog
from celery.bootsteps import RUN
from celery.worker.state import active_requests

from app import figures
from app.domain.messages import Unacceptable, raw_of
from app.outbound.broker import (
    CLASSIC,
    DEAD_LETTERS,
    Connection,
    Message,
    acknowledge,
    acknowledge_up_to,
    is_amqp,
    limit_each_consumer,
    receive_raw,
    see_to,
    task_message,
)
from app.outbound.confirmed import Confirmed
from app.outbound.read_ahead import read_ahead
from tasks.applied_log import AppliedLog
from tasks.holding import Holding, Submission
from tasks.inbox import Delivery, Inbox, Unsettled, key_of
from tasks.leaving import Leaving, comes_too_often
from tasks.monitored import MonitoredConsumer
from tasks.pipes import largest_request
from tasks.reading import names_of, queue_of, readable
from tasks.requests import APPLY_MESSAGES, Refusals

log = structlog.get_logger()

# Beyond this a larger batch gains little, and costs everyone behind it its whole time.
LARGEST_BATCH = 500
# Batches that the broker may send ahead of those being applied.
AHEAD = 2
# A child that is free takes up a batch at once. After this long, in seconds, it hangs or the pool lost the batch, as
# Celery's was seen to do when it had just ended a child; longer than what a child waits for a lock (`lock_timeout`).
TAKEN_UP_WITHIN = 15.0
LOOK_EVERY = 5.0


class LoopFault(ConnectionError):
    """A fault of this code in the worker's loop: it costs the connection, and what is not settled is redelivered."""


class StatusConsumer(MonitoredConsumer):
    """Consumes the external service's queues. Headers and a `task` key in a raw message are never looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conf = self.app.conf
        self._most_in_flight = 1
        self._inbox: Inbox[Message] = Inbox(largest=LARGEST_BATCH)
        self._unsettled: Unsettled[Message] = Unsettled(most_waiting=AHEAD * LARGEST_BATCH)
        self._holding = Holding(waits=conf.rita_status_waits, at_most=conf.rita_status_hold)
        self._in_flight: list[Submission] = []
        self._leaving: Leaving | None = None
        self._applied_log = AppliedLog(self._later)
        # What the log has already said of this connection's queues.
        self._said: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Start with nothing: what the last connection left is the broker's."""
        self._generation = getattr(self, "_generation", 0) + 1
        self._inbox.clear()
        self._unsettled.clear()
        self._holding.clear()
        self._in_flight.clear()
        if self._leaving is not None:
            self._leaving.close()
        # Everything is to go back, as soon as nothing is under way.
        self._gives_back = False
        self._has_given_back = False
        # The loop forgot what it was to call when the connection broke.
        self._hand_over_soon = False

    def prepare(self, connection: Any) -> None:
        """See that the queues exist, as their publisher declares them where that is possible."""
        # One batch for each child; more would only wait there.
        self._most_in_flight = self.pool.num_processes
        self.initial_prefetch_count = LARGEST_BATCH * (self._most_in_flight + AHEAD)
        for name in self.app.amqp.queues.consume_from:
            self._say_once("status_queue_not_as_declared", see_to(connection, name), queue=name)
        self._see_to_dead_letters(connection)
        receive_raw(connection.default_channel)
        limit_each_consumer(connection)
        read_ahead(connection, soon=self._soon)

    @property
    def is_paused(self) -> bool:
        """Whether everything was given back, and nothing is taken until the database answers."""
        return self._has_given_back

    def _see_to_dead_letters(self, connection: Connection) -> None:
        see_to(connection, DEAD_LETTERS, arguments=CLASSIC)

    def _say_once(self, event: str, reason: str | None, **fields: Any) -> None:
        if reason is not None and reason not in self._said:
            self._said.add(reason)
            log.warning(event, reason=reason, **fields)

    def register_with_event_loop(self, hub: Any) -> None:
        """Look after batches as long as this connection lasts."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(LOOK_EVERY, self._guarded, self._look_after_batches)

    def create_task_handler(self, promise: Any = None) -> Callable[[Message], None]:  # noqa: ARG002 - Celery's signature
        """Return what takes each delivery. Called once for each connection: what the last one left is the broker's."""
        self._forget()
        self._unsettled.one_by_one = not is_amqp(self.task_consumer.channel)
        outbox = Confirmed(
            self.app.conf.broker_url,
            hub=self.hub,
            prepare=self._see_to_dead_letters,
            soon=self._soon,
            later=self._later,
        )
        self._leaving = Leaving(outbox, left=lambda delivery: self._acknowledge([delivery]))
        return self._take

    def shutdown(self) -> None:
        """End; what is not confirmed is not acknowledged either."""
        self._applied_log.write()
        if self._leaving is not None:
            self._leaving.close()
        super().shutdown()

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Bury what kombu cannot even unpack, instead of acknowledging it away."""
        delivery = self._arrived(message)
        self._guarded(self._bury, delivery, Unacceptable("undecodable", type(exc).__name__))

    @property
    def _way_out(self) -> Leaving:
        assert self._leaving is not None, "nothing is delivered before a connection has its handler"  # noqa: S101
        return self._leaving

    def _bury(self, delivery: Delivery[Message], refusal: Unacceptable) -> None:
        self._way_out.bury(delivery, refusal, queue=queue_of(delivery.message, names_of(self.task_consumer)))

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

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self.timer.call_after(seconds, self._guarded, (act,))

    def _arrived(self, message: Message) -> Delivery[Message]:
        delivery = Delivery(message)
        self._unsettled.add(delivery)
        return delivery

    def _take(self, message: Message) -> None:
        delivery = self._arrived(message)
        if comes_too_often(message):
            self._way_out.move(delivery, queue=queue_of(message, names_of(self.task_consumer)))
            return
        body = raw_of(message.body)
        delivery.key, delivery.size = key_of(body), len(body)
        self._inbox.add(delivery)
        # In the loop's next turn, when all that has arrived in this one is in the inbox.
        if not self._hand_over_soon:
            self._hand_over_soon = True
            self._soon(self._hand_over)

    def _hand_over(self) -> None:
        self._hand_over_soon = False
        while submission := self._next():
            self._submit(submission)

    def _next(self) -> Submission | None:
        """Return what to give to a child now, if anything."""
        now = time.monotonic()
        # Not while stopping: what the pool has not got then goes back to the queue.
        if self.blueprint.state != RUN or self._gives_back or self._holding.is_paused(now=now):
            return None
        if len(self._in_flight) >= self._most_in_flight:
            return None
        if held := self._holding.take_due(now=now):
            return held
        batch = self._inbox.next_batch(capacity=largest_request(self.pool))
        return Submission(batch) if batch else None

    def _submit(self, submission: Submission) -> None:
        raw = readable(submission, consumer=self.task_consumer, bury=self._bury)
        if not raw and not submission.is_probe:
            self._inbox.over(submission.batch)
            return
        submission.task_id, submission.handed_over = str(uuid4()), time.monotonic()
        self._in_flight.append(submission)
        generation = self._generation

        def ack(refusals: Refusals) -> None:
            self._soon(self._settle, submission, generation, refusals)

        def reject(*_: Any) -> None:
            self._soon(self._settle, submission, generation, None)

        request = task_message(APPLY_MESSAGES, submission.task_id, argument=raw, origin=self.hostname)
        self.strategies[APPLY_MESSAGES](request, None, ack, reject, self.on_task_message)

    def _look_after_batches(self) -> None:
        """Give up the connection if no child has taken up a batch in time: what is in it is redelivered."""
        taken_up = {request.id for request in active_requests}
        latest = time.monotonic() - TAKEN_UP_WITHIN
        if any(each.handed_over < latest and each.task_id not in taken_up for each in self._in_flight):
            raise RuntimeError("no child has taken up a batch of status messages")
        self._way_out.look()

    def _settle(self, submission: Submission, generation: int, refusals: Refusals | None) -> None:
        if generation != self._generation:
            # Their connection is gone, so they are redelivered; what was applied is then a copy, which changes nothing.
            log.info(
                "status_batch_redelivered", messages=len(submission.batch.deliveries), applied=refusals is not None
            )
            return
        self._in_flight.remove(submission)
        if refusals is None:
            self._hold(submission)
        else:
            self._holding.succeeded()
            self._applied(submission, refusals)
        if self._gives_back and not self._in_flight:
            self._give_back()
        # At once: this runs in the loop's turn, after which it waits for the network before it calls anything.
        self._hand_over()

    def _applied(self, submission: Submission, refusals: Refusals) -> None:
        if submission.is_probe:
            log.info("status_worker_resumes")
            self._has_given_back = False
            self.task_consumer.consume()
            return
        self._inbox.over(submission.batch)
        deliveries = submission.batch.deliveries
        self._applied_log.add(messages=len(deliveries) - len(refusals), refused=len(refusals))
        for place, reason, detail in refusals:
            self._bury(deliveries[place], submission.refused.get(place) or Unacceptable(reason, detail))
        self._acknowledge([delivery for delivery in deliveries if not delivery.is_leaving])

    def _acknowledge(self, deliveries: Sequence[Delivery[Message]]) -> None:
        """Acknowledge what is applied, or safe elsewhere. Should the connection break, it is redelivered as copies."""
        oldest, alone = self._unsettled.settle(deliveries)
        if oldest is not None:
            acknowledge_up_to(oldest, errors=self.connection_errors)
        acknowledge(alone, errors=self.connection_errors)

    def _hold(self, submission: Submission) -> None:
        """Keep a batch that could not be applied, to try it again before anything else of its connections."""
        figures.batch_held()
        now = time.monotonic()
        waits = self._holding.failed(submission, now=now)
        log.warning(
            "status_batch_held",
            messages=len(submission.batch.deliveries),
            failures=submission.failures,
            seconds=round(max(waits), 1),
        )
        for seconds in waits:
            self._later(seconds, self._hand_over)
        self._gives_back = self._gives_back or self._holding.is_too_long(now=now)

    def _give_back(self) -> None:
        """Give everything back, once, in the order of its delivery, and take nothing until the database answers."""
        self._gives_back, self._has_given_back = False, True
        # First stop, then give back, or the same messages are delivered again at once.
        self.task_consumer.cancel()
        settled, rest = self._unsettled.give_back()
        acknowledge(settled, errors=self.connection_errors)
        for message in rest:
            message.reject_log_error(log, self.connection_errors, requeue=True)
        self._inbox.clear()
        self._holding.probe()
        figures.messages_given_back(len(rest))
        log.warning("status_messages_given_back", messages=len(rest))
