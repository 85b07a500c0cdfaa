"""Publishing from a worker's loop without waiting: whoever publishes is called back when the broker has the message.

It takes a connection of its own. A broker in alarm stops reading from whoever publishes, so that over the connection of
the consumer acknowledgements and heartbeats, too, would stay unread until the broker gave it up, and everything that it
had delivered was delivered again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from app.outbound import broker
from app.outbound.broker import BrokerError, Connection, OutgoingMessage

log = structlog.get_logger()

# Copies that the broker is sent before it has confirmed any: more would wait in the sockets, not in the broker.
MAX_UNCONFIRMED = 200
# A broker that is not in alarm has confirmed long before, in seconds; one that has not may never have got it.
CONFIRM_DEADLINE_SECONDS = 30.0
# After a fault, in seconds, the last again and again.
RECONNECT_SCHEDULE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

# Calls a function in the loop's next turn, or so many seconds from now.
CallSoon = Callable[..., object]
CallLater = Callable[[float, Callable[[], object]], object]


@dataclass(eq=False, slots=True)
class _PendingPublish:
    outgoing: OutgoingMessage
    on_confirmed: Callable[[], object]
    sent_at: float = 0.0


class ConfirmedPublisher:
    """A publisher of one loop, opened when it is first needed.

    What the broker has not confirmed is sent again, in its order, over a new connection; so there may be a second copy,
    but none is missing. `prepare_connection` sees that the queues are there, each time. All of it runs in the loop.
    """

    def __init__(
        self,
        broker_url: str,
        *,
        event_loop: Any,
        prepare_connection: Callable[[Connection], object],
        call_soon: CallSoon,
        call_later: CallLater,
    ) -> None:
        self._url = broker_url
        self._hub = event_loop
        self._prepare = prepare_connection
        self._call_soon = call_soon
        self._call_later = call_later
        self._unsent: deque[_PendingPublish] = deque()
        # By the number that the broker confirms, oldest first.
        self._sent: dict[int, _PendingPublish] = {}
        self._number = 0
        self._connection: Connection | None = None
        self._channel: Any = None
        # Amqp's own connection, and its descriptor: kombu's would connect again when it is asked for them.
        self._amqp_connection: Any = None
        self._descriptor: int | None = None
        unopened = broker.create_connection(broker_url)
        self._errors = (*BrokerError, OSError, *unopened.connection_errors, *unopened.channel_errors)
        self._is_blocked = self._is_sending = self._is_waiting_to_reconnect = self._is_closed = False
        self._failures_in_a_row = 0

    def publish(self, outgoing_message: OutgoingMessage, *, on_confirmed: Callable[[], object]) -> None:
        """Publish a message, and call `on_confirmed` when the broker has stored it."""
        self._unsent.append(_PendingPublish(outgoing_message, on_confirmed))
        self._publish_pending()

    def check_confirm_deadline(self) -> None:
        """Start over if the broker should have confirmed long ago; to be called now and then."""
        oldest = next(iter(self._sent.values()), None)
        if oldest is None or time.monotonic() - oldest.sent_at < CONFIRM_DEADLINE_SECONDS:
            return
        if self._is_blocked:
            log.warning("broker_takes_nothing", unconfirmed=len(self._sent) + len(self._unsent))
            return
        self._reconnect_later(TimeoutError(f"not confirmed within {CONFIRM_DEADLINE_SECONDS:.0f} s"))

    def close(self) -> None:
        """Forget what is not confirmed: whoever published has it still."""
        self._is_closed = True
        nothing_unconfirmed = not self._sent
        self._unsent.clear()
        self._sent.clear()
        self._disconnect(gracefully=nothing_unconfirmed)

    def _publish_pending(self) -> None:
        # What reads a confirmation in between must not send the next one before this one is on its way.
        if self._is_sending or self._is_waiting_to_reconnect or self._is_closed:
            return
        self._is_sending = True
        try:
            if self._unsent and self._connection is None:
                self._connect()
            while self._unsent and len(self._sent) < MAX_UNCONFIRMED:
                copy = self._unsent.popleft()
                copy.sent_at = time.monotonic()
                # It may be there even if it fails.
                self._number += 1
                self._sent[self._number] = copy
                broker.publish_to_queue(self._channel, copy.outgoing)
                if self._amqp_connection is None:
                    # Redis has answered.
                    self._on_ack(self._number, multiple=False)
        except self._errors as fault:
            self._reconnect_later(fault)
        finally:
            self._is_sending = False

    def _connect(self) -> None:
        options = broker.consumer_transport_options(self._url)
        if self._url.startswith("amqp"):
            options |= {"on_blocked": self._on_blocked, "on_unblocked": self._on_unblocked}
        self._connection = broker.create_connection(self._url, transport_options=options)
        self._connection.connect()
        self._prepare(self._connection)
        self._channel = self._connection.default_channel
        self._number = 0
        if broker.is_amqp(self._channel):
            self._amqp_connection = self._connection.connection
            self._descriptor = self._amqp_connection.sock.fileno()
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
            self._hub.add_reader(self._descriptor, self._read_confirmations)

    def _read_confirmations(self) -> None:
        opened = self._amqp_connection
        try:
            while opened is not None and opened is self._amqp_connection:
                opened.drain_events(timeout=0)
        except TimeoutError:
            return
        except self._errors as fault:
            self._reconnect_later(fault)

    def _on_ack(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - amqp calls it so
        numbers: Sequence[int] = [each for each in self._sent if each <= number] if multiple else [number]
        for each in numbers:
            copy = self._sent.pop(each, None)
            if copy is not None:
                self._call_soon(copy.on_confirmed)
        self._failures_in_a_row = 0
        if self._unsent:
            self._call_soon(self._publish_pending)

    def _on_nack(self, *_: Any) -> None:
        self._call_soon(self._reconnect_later, OSError("the broker could not store it"))

    def _on_return(self, fault: Exception, *_: Any) -> None:
        # Its confirmation follows, and does not say whose it is.
        self._requeue_unconfirmed()
        self._call_soon(self._reconnect_later, fault)

    def _requeue_unconfirmed(self) -> None:
        self._unsent.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def _on_blocked(self, *_: Any) -> None:
        self._is_blocked = True
        log.warning("broker_takes_nothing", unconfirmed=len(self._sent) + len(self._unsent))

    def _on_unblocked(self) -> None:
        self._is_blocked = False

    def _reconnect_later(self, fault: Exception) -> None:
        if self._is_waiting_to_reconnect or self._is_closed:
            return
        self._requeue_unconfirmed()
        self._disconnect(gracefully=False)
        wait = RECONNECT_SCHEDULE_SECONDS[min(self._failures_in_a_row, len(RECONNECT_SCHEDULE_SECONDS) - 1)]
        self._failures_in_a_row += 1
        log.warning("copies_not_confirmed", count=len(self._unsent), seconds=wait, error=type(fault).__name__)
        self._is_waiting_to_reconnect = True
        self._call_later(wait, self._retry_publishing)

    def _retry_publishing(self) -> None:
        self._is_waiting_to_reconnect = False
        self._publish_pending()

    def _disconnect(self, *, gracefully: bool) -> None:
        connection, self._connection = self._connection, None
        descriptor, self._descriptor, self._amqp_connection, self._channel = self._descriptor, None, None, None
        self._is_blocked = False
        if descriptor is not None:
            self._hub.remove_reader(descriptor)
        if connection is None:
            return
        # One that is blocked would not answer.
        if gracefully:
            connection.close()
        else:
            connection.collect()
