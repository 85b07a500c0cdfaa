"""Celery's consumer for a queue that is not Celery's: raw JSON in, batches of it to the pool as one request each.

What has arrived is buffered, and whenever a child of the pool is free, up to MAX_BATCH_MESSAGES of it go there as one
Celery request, whose acknowledgement acknowledges them all. So a lone message goes at once, a flood in large batches.
What may go together is `tasks.inbox`'s to say; what could not be applied, `tasks.held_batches`'s. A fault in here costs
the connection, never the worker: see `StatusConsumer._run_guarded`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import structlog
from celery.bootsteps import RUN
from celery.worker.state import active_requests

from app import metrics
from app.domain.status_messages import MessageRefused, body_bytes
from app.outbound import broker
from app.outbound.broker import Connection, Message, ensure_queue_exists
from app.outbound.confirmed_publisher import ConfirmedPublisher
from app.outbound.frame_reader import install_frame_reader
from tasks.applied_log import AppliedMessagesLog
from tasks.batch_requests import APPLY_MESSAGES_TASK, RefusedMessages
from tasks.held_batches import BatchSubmission, HeldBatches
from tasks.inbox import Delivery, Inbox, UnacknowledgedDeliveries, connection_key_of_body
from tasks.message_texts import queue_names_by_consumer_tag, source_queue_of, texts_for_child
from tasks.monitored_consumer import MonitoredConsumer
from tasks.republishing import Republisher, must_be_republished
from tasks.wide_pipes import max_batch_bytes

log = structlog.get_logger()

# Beyond this a larger batch gains little, and costs everyone behind it its whole time.
MAX_BATCH_MESSAGES = 500
# Batches that the broker may send ahead of those being applied.
PREFETCHED_BATCHES = 2
# A child that is free takes up a batch at once. After this long, in seconds, it hangs or the pool lost the batch, as
# Celery's was seen to do when it had just ended a child; longer than what a child waits for a lock (`lock_timeout`).
BATCH_START_TIMEOUT_SECONDS = 15.0
BATCH_CHECK_INTERVAL_SECONDS = 5.0


class ConsumerCodeError(ConnectionError):
    """A fault of this code in the worker's loop: it costs the connection, and what is not settled is redelivered."""


class StatusConsumer(MonitoredConsumer):
    """Consumes the external service's queues. Headers and a `task` key in a raw message are never looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conf = self.app.conf
        self._max_batches_in_flight = 1
        self._inbox: Inbox[Message] = Inbox(max_messages=MAX_BATCH_MESSAGES)
        max_waiting = PREFETCHED_BATCHES * MAX_BATCH_MESSAGES
        self._unsettled: UnacknowledgedDeliveries[Message] = UnacknowledgedDeliveries(max_settled_waiting=max_waiting)
        max_hold_seconds = conf.rita_status_max_hold_seconds
        self._held_batches = HeldBatches(conf.rita_status_retry_schedule, max_hold_seconds=max_hold_seconds)
        self._in_flight: list[BatchSubmission] = []
        self._republisher_or_none: Republisher | None = None
        self._applied_log = AppliedMessagesLog(self._call_later)
        # What the log has already said of this connection's queues.
        self._logged_reasons: set[str] = set()
        self._reset()

    def _reset(self) -> None:
        """Start with nothing: what the last connection left is the broker's."""
        self._connection_number = getattr(self, "_connection_number", 0) + 1
        self._inbox.clear()
        self._unsettled.clear()
        self._held_batches.clear()
        self._in_flight.clear()
        if self._republisher_or_none is not None:
            self._republisher_or_none.close()
        # Everything is to go back, as soon as nothing is under way.
        self._must_give_back = False
        self._has_given_back = False
        # The loop forgot what it was to call when the connection broke.
        self._is_submit_scheduled = False

    def prepare_connection(self, connection: Any) -> None:
        """See that the queues exist, as their publisher declares them where that is possible."""
        # One batch for each child; more would only wait there.
        self._max_batches_in_flight = self.pool.num_processes
        self.initial_prefetch_count = MAX_BATCH_MESSAGES * (self._max_batches_in_flight + PREFETCHED_BATCHES)
        for name in self.app.amqp.queues.consume_from:
            self._log_once("status_queue_not_as_declared", ensure_queue_exists(connection, name), queue=name)
        self._ensure_dead_letter_queue(connection)
        broker.disable_body_decoding(connection.default_channel)
        broker.limit_prefetch_per_consumer(connection)
        install_frame_reader(connection, call_soon=self._call_soon)

    @property
    def is_paused(self) -> bool:
        """Whether everything was given back, and nothing is taken until the database answers."""
        return self._has_given_back

    def _ensure_dead_letter_queue(self, connection: Connection) -> None:
        ensure_queue_exists(connection, broker.DEAD_LETTER_QUEUE_NAME, arguments=broker.CLASSIC_QUEUE_ARGUMENTS)

    def _log_once(self, event: str, reason: str | None, **fields: Any) -> None:
        if reason is not None and reason not in self._logged_reasons:
            self._logged_reasons.add(reason)
            log.warning(event, reason=reason, **fields)

    def register_with_event_loop(self, hub: Any) -> None:
        """Look after batches as long as this connection lasts."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(BATCH_CHECK_INTERVAL_SECONDS, self._run_guarded, self._check_batches_are_started)

    def create_task_handler(self, promise: Any = None) -> Callable[[Message], None]:  # noqa: ARG002 - Celery's signature
        """Return what takes each delivery. Called once for each connection: what the last one left is the broker's."""
        self._reset()
        self._unsettled.must_acknowledge_individually = not broker.is_amqp(self.task_consumer.channel)
        outbox = ConfirmedPublisher(
            self.app.conf.broker_url,
            event_loop=self.hub,
            prepare_connection=self._ensure_dead_letter_queue,
            call_soon=self._call_soon,
            call_later=self._call_later,
        )
        self._republisher_or_none = Republisher(outbox, on_republished=lambda delivery: self._acknowledge([delivery]))
        return self._receive

    def shutdown(self) -> None:
        """End; what is not confirmed is not acknowledged either."""
        self._applied_log.write()
        if self._republisher_or_none is not None:
            self._republisher_or_none.close()
        super().shutdown()

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Dead-letter what kombu cannot even unpack, instead of acknowledging it away."""
        delivery = self._track_delivery(message)
        self._run_guarded(self._dead_letter, delivery, MessageRefused("undecodable", type(exc).__name__))

    @property
    def _republisher(self) -> Republisher:
        assert self._republisher_or_none is not None, "nothing is delivered before a connection has its handler"  # noqa: S101
        return self._republisher_or_none

    def _dead_letter(self, delivery: Delivery[Message], refusal: MessageRefused) -> None:
        self._republisher.dead_letter(delivery, refusal, queue=self._source_queue(delivery.message))

    def _source_queue(self, message: Message) -> str:
        return source_queue_of(message, queue_names_by_consumer_tag(self.task_consumer))

    def _run_guarded(self, function: Callable[..., object], *args: Any) -> None:
        """Take a step of the loop: a fault of its own must not end the process, nor leave a batch unsettled."""
        try:
            function(*args)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as fault:
            log.exception("status_consumer_fault")
            raise ConsumerCodeError from fault

    def _call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self.call_soon(self._run_guarded, function, *args)

    def _call_later(self, seconds: float, function: Callable[[], object]) -> None:
        self.timer.call_after(seconds, self._run_guarded, (function,))

    def _track_delivery(self, message: Message) -> Delivery[Message]:
        delivery = Delivery(message)
        self._unsettled.add(delivery)
        return delivery

    def _receive(self, message: Message) -> None:
        delivery = self._track_delivery(message)
        if must_be_republished(message):
            self._republisher.republish_to_own_queue(delivery, queue=self._source_queue(message))
            return
        body = body_bytes(message.body)
        delivery.connection_key, delivery.size = connection_key_of_body(body), len(body)
        self._inbox.add(delivery)
        # In the loop's next turn, when all that has arrived in this one is in the inbox.
        if not self._is_submit_scheduled:
            self._is_submit_scheduled = True
            self._call_soon(self._submit_batches)

    def _submit_batches(self) -> None:
        self._is_submit_scheduled = False
        while submission := self._next_submission():
            self._submit(submission)

    def _next_submission(self) -> BatchSubmission | None:
        """Return what to give to a child now, if anything."""
        now = time.monotonic()
        # Not while stopping: what the pool has not got then goes back to the queue.
        if self.blueprint.state != RUN or self._must_give_back or self._held_batches.is_paused(now=now):
            return None
        if len(self._in_flight) >= self._max_batches_in_flight:
            return None
        if held := self._held_batches.take_due_submission(now=now):
            return held
        batch = self._inbox.take_next_batch(max_bytes=max_batch_bytes(self.pool))
        return BatchSubmission(batch) if batch else None

    def _submit(self, submission: BatchSubmission) -> None:
        raw = texts_for_child(submission, consumer=self.task_consumer, dead_letter=self._dead_letter)
        if not raw and not submission.is_probe:
            self._inbox.batch_finished(submission.batch)
            return
        submission.task_id, submission.submitted_at = str(uuid4()), time.monotonic()
        self._in_flight.append(submission)
        connection_number = self._connection_number

        def ack(refusals: RefusedMessages) -> None:
            self._call_soon(self._settle_batch, submission, connection_number, refusals)

        def reject(*_: Any) -> None:
            self._call_soon(self._settle_batch, submission, connection_number, None)

        request = broker.build_task_message(APPLY_MESSAGES_TASK, submission.task_id, argument=raw, origin=self.hostname)
        self.strategies[APPLY_MESSAGES_TASK](request, None, ack, reject, self.on_task_message)

    def _check_batches_are_started(self) -> None:
        """Give up the connection if no child has taken up a batch in time: what is in it is redelivered."""
        started_ids = {request.id for request in active_requests}
        started_before = time.monotonic() - BATCH_START_TIMEOUT_SECONDS
        if any(each.submitted_at < started_before and each.task_id not in started_ids for each in self._in_flight):
            raise RuntimeError("no child has taken up a batch of status messages")
        self._republisher.check_confirm_deadline()

    def _settle_batch(self, submission: BatchSubmission, number: int, refusals: RefusedMessages | None) -> None:
        if number != self._connection_number:
            # Their connection is gone, so they are redelivered; what was applied is then a copy, which changes nothing.
            count = len(submission.batch.deliveries)
            log.info("status_batch_redelivered", messages=count, applied=refusals is not None)
            return
        self._in_flight.remove(submission)
        if refusals is None:
            self._hold_failed_batch(submission)
        else:
            self._held_batches.record_success()
            self._settle_applied_batch(submission, refusals)
        if self._must_give_back and not self._in_flight:
            self._give_everything_back()
        # At once: this runs in the loop's turn, after which it waits for the network before it calls anything.
        self._submit_batches()

    def _settle_applied_batch(self, submission: BatchSubmission, refusals: RefusedMessages) -> None:
        if submission.is_probe:
            log.info("status_worker_resumes")
            self._has_given_back = False
            self.task_consumer.consume()
            return
        self._inbox.batch_finished(submission.batch)
        deliveries = submission.batch.deliveries
        self._applied_log.add(messages=len(deliveries) - len(refusals), refused=len(refusals))
        for place, reason, detail in refusals:
            refusal = submission.refusals_by_position.get(place) or MessageRefused(reason, detail)
            self._dead_letter(deliveries[place], refusal)
        self._acknowledge([delivery for delivery in deliveries if not delivery.is_being_republished])

    def _acknowledge(self, deliveries: Sequence[Delivery[Message]]) -> None:
        """Acknowledge what is applied, or safe elsewhere. Should the connection break, it is redelivered as copies."""
        oldest, alone = self._unsettled.settle_and_take_acknowledgeable(deliveries)
        if oldest is not None:
            broker.acknowledge_up_to(oldest, errors=self.connection_errors)
        broker.acknowledge_each(alone, errors=self.connection_errors)

    def _hold_failed_batch(self, submission: BatchSubmission) -> None:
        """Keep a batch that could not be applied, to try it again before anything else of its connections."""
        metrics.process_metrics().batches_held.inc()
        now = time.monotonic()
        retry_delays = self._held_batches.hold_failed(submission, now=now)
        count, longest_delay = len(submission.batch.deliveries), round(max(retry_delays), 1)
        log.warning("status_batch_held", messages=count, failures=submission.failure_count, seconds=longest_delay)
        for seconds in retry_delays:
            self._call_later(seconds, self._submit_batches)
        self._must_give_back = self._must_give_back or self._held_batches.is_held_too_long(now=now)

    def _give_everything_back(self) -> None:
        """Give everything back, once, in the order of its delivery, and take nothing until the database answers."""
        self._must_give_back, self._has_given_back = False, True
        # First stop, then give back, or the same messages are delivered again at once.
        self.task_consumer.cancel()
        settled, unapplied = self._unsettled.take_all_for_return()
        broker.acknowledge_each(settled, errors=self.connection_errors)
        for message in unapplied:
            message.reject_log_error(log, self.connection_errors, requeue=True)
        self._inbox.clear()
        self._held_batches.replace_with_probe()
        metrics.process_metrics().messages_given_back.inc(len(unapplied))
        log.warning("status_messages_given_back", messages=len(unapplied))
