"""The way back to Rita: raw JSON on one durable queue, sent when it is due by one thread that owns the connection.

While the broker is away the messages wait in memory. Each is sent at least once: a connection lost during the
confirmation makes a second copy, which Rita must bear anyway (CONTRACT, section 5).
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Condition, Thread
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import structlog
from amqp.exceptions import MessageNacked
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

# A laptop's broker is back within seconds; a tenth of a minute is the longest that anyone should wait for it.
_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.2, 0.5, 1, 2, 4, 6))
_SHOWN = ("type", "status", "connection_id", "tenant_id", "operation_id", "documents_processed")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(order=True)
class _Due:
    at: float
    number: int  # of two due together, the one handed over first
    message: Mapping[str, object] = field(compare=False)


class StatusQueue:
    """A queue that is written to later; `send` never blocks."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        # Durable and nothing else: Rita declares it the same way, and RabbitMQ refuses whoever differs.
        self._queue: Any = Queue(name, durable=True)
        self._waiting: list[_Due] = []
        # Taken from those waiting and not known to be sent: first in line after a reconnect.
        self._in_hand: _Due | None = None
        self._numbers = itertools.count()
        self._changed = Condition()
        self._stopping = False
        self._thread = Thread(target=self._run, name="status-queue", daemon=True)

    def start(self) -> None:
        """Connect and begin to send, in a thread of its own."""
        self._thread.start()

    def send(self, message: Mapping[str, object], *, after: timedelta) -> None:
        """Send this message that much later."""
        with self._changed:
            due = monotonic() + after.total_seconds()
            heapq.heappush(self._waiting, _Due(due, next(self._numbers), message))
            self._changed.notify()

    def stop(self, *, within: timedelta) -> int:
        """Send what is due now, close, and return how many messages are given up."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(within.total_seconds())
        return len(self._waiting) + (self._in_hand is not None)

    def _run(self) -> None:
        failures = 0
        while True:
            connection = self._connection()
            try:
                with connection:
                    producer = self._producer(connection)
                    log.info("broker_connected", queue=self._queue.name)
                    failures = 0
                    self._send_until_stopped(producer)
            except (
                *connection.connection_errors,
                *connection.channel_errors,
                OperationalError,
                MessageNacked,  # kombu counts it among neither
            ) as error:
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                log.warning("broker_away", error=type(error).__name__, again_in=pause.total_seconds())
                if self._stopped_within(pause):
                    return
            else:
                return

    def _send_until_stopped(self, producer: Any) -> None:
        while (due := self._next()) is not None:
            self._publish(producer, due.message)
            self._in_hand = None
            log.info("message_sent", **{key: due.message[key] for key in _SHOWN if key in due.message})

    def _next(self) -> _Due | None:
        """Wait for the next message that is due; None when stopping and nothing is."""
        with self._changed:
            while self._in_hand is None:
                wait = self._waiting[0].at - monotonic() if self._waiting else None
                if wait is not None and wait <= 0:
                    self._in_hand = heapq.heappop(self._waiting)
                elif self._stopping:
                    return None
                else:
                    self._changed.wait(wait)
            return self._in_hand

    def _stopped_within(self, pause: timedelta) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, pause.total_seconds())

    def _connection(self) -> Any:
        if urlsplit(self._url).scheme.startswith("redis"):
            options: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 4}
        else:
            # Without confirms, a message written to a socket that the broker has just closed is lost unnoticed; without
            # the time-outs, a broker that stands still holds the confirm back for ever.
            options = {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5}
        return Connection(self._url, connect_timeout=4, transport_options=options)

    def _producer(self, connection: Any) -> Any:
        channel = connection.channel()
        self._queue.bind(channel).declare()
        return Producer(channel)

    def _publish(self, producer: Any, message: Mapping[str, object]) -> None:
        producer.publish(
            json.dumps(message, ensure_ascii=False),
            exchange="",
            routing_key=self._queue.name,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode="persistent",
            retry=False,  # the back-off is this module's
        )
