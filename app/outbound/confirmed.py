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

from app.outbound.broker import BrokerError, Connection, Outgoing, bounded_options, connection_to, is_amqp, publish

log = structlog.get_logger()

# Copies that the broker is sent before it has confirmed any: more would wait in the sockets, not in the broker.
AT_ONCE = 200
# A broker that is not in alarm has confirmed long before, in seconds; one that has not may never have got it.
CONFIRMED_WITHIN = 30.0
# After a fault, in seconds, the last again and again.
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

# Calls a function in the loop's next turn, or so many seconds from now.
Soon = Callable[..., object]
Later = Callable[[float, Callable[[], object]], object]


@dataclass(eq=False, slots=True)
class _Copy:
    outgoing: Outgoing
    taken: Callable[[], object]
    sent_at: float = 0.0


class Confirmed:
    """A publisher of one loop, opened when it is first needed.

    What the broker has not confirmed is sent again, in its order, over a new connection; so there may be a second copy,
    but none is missing. `prepare` sees that the queues are there, each time. All of it runs in the loop.
    """

    def __init__(
        self, url: str, *, hub: Any, prepare: Callable[[Connection], object], soon: Soon, later: Later
    ) -> None:
        self._url = url
        self._hub = hub
        self._prepare = prepare
        self._soon = soon
        self._later = later
        self._unsent: deque[_Copy] = deque()
        # By the number that the broker confirms, oldest first.
        self._sent: dict[int, _Copy] = {}
        self._number = 0
        self._connection: Connection | None = None
        self._channel: Any = None
        # Amqp's own connection, and its descriptor: kombu's would connect again when it is asked for them.
        self._opened: Any = None
        self._descriptor: int | None = None
        asked = connection_to(url)
        self._errors = (*BrokerError, OSError, *asked.connection_errors, *asked.channel_errors)
        self._is_blocked = self._is_sending = self._is_resting = self._is_closed = False
        self._faults = 0

    def publish(self, outgoing: Outgoing, *, taken: Callable[[], object]) -> None:
        """Publish a message, and call `taken` when the broker has stored it."""
        self._unsent.append(_Copy(outgoing, taken))
        self._send()

    def look(self) -> None:
        """Start over if the broker should have confirmed long ago; to be called now and then."""
        oldest = next(iter(self._sent.values()), None)
        if oldest is None or time.monotonic() - oldest.sent_at < CONFIRMED_WITHIN:
            return
        if self._is_blocked:
            log.warning("broker_takes_nothing", unconfirmed=len(self._sent) + len(self._unsent))
            return
        self._start_over(TimeoutError(f"not confirmed within {CONFIRMED_WITHIN:.0f} s"))

    def close(self) -> None:
        """Forget what is not confirmed: whoever published has it still."""
        self._is_closed = True
        is_quiet = not self._sent
        self._unsent.clear()
        self._sent.clear()
        self._disconnect(politely=is_quiet)

    def _send(self) -> None:
        # What reads a confirmation in between must not send the next one before this one is on its way.
        if self._is_sending or self._is_resting or self._is_closed:
            return
        self._is_sending = True
        try:
            if self._unsent and self._connection is None:
                self._connect()
            while self._unsent and len(self._sent) < AT_ONCE:
                copy = self._unsent.popleft()
                copy.sent_at = time.monotonic()
                # It may be there even if it fails.
                self._number += 1
                self._sent[self._number] = copy
                publish(self._channel, copy.outgoing)
                if self._opened is None:
                    # Redis has answered.
                    self._on_ack(self._number, multiple=False)
        except self._errors as fault:
            self._start_over(fault)
        finally:
            self._is_sending = False

    def _connect(self) -> None:
        options = bounded_options(self._url)
        if self._url.startswith("amqp"):
            options |= {"on_blocked": self._block, "on_unblocked": self._unblock}
        self._connection = connection_to(self._url, transport_options=options)
        self._connection.connect()
        self._prepare(self._connection)
        self._channel = self._connection.default_channel
        self._number = 0
        if is_amqp(self._channel):
            self._opened = self._connection.connection
            self._descriptor = self._opened.sock.fileno()
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
            self._hub.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        opened = self._opened
        try:
            while opened is not None and opened is self._opened:
                opened.drain_events(timeout=0)
        except TimeoutError:
            return
        except self._errors as fault:
            self._start_over(fault)

    def _on_ack(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - amqp calls it so
        numbers: Sequence[int] = [each for each in self._sent if each <= number] if multiple else [number]
        for each in numbers:
            copy = self._sent.pop(each, None)
            if copy is not None:
                self._soon(copy.taken)
        self._faults = 0
        if self._unsent:
            self._soon(self._send)

    def _on_nack(self, *_: Any) -> None:
        self._soon(self._start_over, OSError("the broker could not store it"))

    def _on_return(self, fault: Exception, *_: Any) -> None:
        # Its confirmation follows, and does not say whose it is.
        self._take_back()
        self._soon(self._start_over, fault)

    def _take_back(self) -> None:
        self._unsent.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def _block(self, *_: Any) -> None:
        self._is_blocked = True
        log.warning("broker_takes_nothing", unconfirmed=len(self._sent) + len(self._unsent))

    def _unblock(self) -> None:
        self._is_blocked = False

    def _start_over(self, fault: Exception) -> None:
        if self._is_resting or self._is_closed:
            return
        self._take_back()
        self._disconnect(politely=False)
        wait = WAITS[min(self._faults, len(WAITS) - 1)]
        self._faults += 1
        log.warning("copies_not_confirmed", count=len(self._unsent), seconds=wait, error=type(fault).__name__)
        self._is_resting = True
        self._later(wait, self._again)

    def _again(self) -> None:
        self._is_resting = False
        self._send()

    def _disconnect(self, *, politely: bool) -> None:
        connection, self._connection = self._connection, None
        descriptor, self._descriptor, self._opened, self._channel = self._descriptor, None, None, None
        self._is_blocked = False
        if descriptor is not None:
            self._hub.remove_reader(descriptor)
        if connection is None:
            return
        # One that is blocked would not answer.
        if politely:
            connection.close()
        else:
            connection.collect()
