"""The external service: takes webhooks at its door and answers on the queue, and starts syncs of its own."""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import amqp

from tests.e2e.service import STATUS, channel
from tests.factories import a_sync_message, a_verification_message
from tests.faults.ledger import Expect, Sent
from tests.receiver import Behaviour, Received, Receiver, answer

RECONNECT = 0.2
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Sending:
    """One message to come: what is sent, how many seconds from now, and what is expected of it."""

    body: bytes
    expect: Expect = Expect.EFFECT
    after: float = 0.0
    connection_id: str = ""
    operation_id: str | None = None
    trigger: str = ""
    marker: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sent(self) -> Sent:
        return Sent(self.body, self.expect, self.connection_id, self.operation_id, self.trigger, self.marker)


@dataclass(frozen=True)
class Door:
    """What happens to a webhook: whether the service acts on it, and what it answers."""

    takes: bool = True
    behave: Behaviour = field(default_factory=lambda: answer(200))


Reply = Callable[[Mapping[str, Any]], list[Sending]]


def a_message(message: Mapping[str, Any], trigger: str, *, after: float = 0.0, marker: str = "") -> Sending:
    """Wrap an honest message."""
    return Sending(
        json.dumps(message).encode(),
        after=after,
        connection_id=str(message["connection_id"]),
        operation_id=message.get("operation_id"),
        trigger=trigger,
        marker=marker,
    )


def honest(webhook: Mapping[str, Any], *, clock: timedelta = timedelta(0)) -> list[Sending]:
    """Answer as CONTRACT asks: a verification with success, a sync with its start and its completion."""
    number = next(_numbers)
    row = {"id": webhook["connection_id"], "organization_id": webhook["tenant_id"]}
    operation_id = webhook["operation_id"]
    if webhook["action"] == "verify_credentials":
        options = {"spaces": f"S{number}"}
        message = a_verification_message(row, options=options, operation_id=operation_id)
        return [a_message(message, "succeeded", marker=f"S{number}")]
    return a_sync(row, number, operation_id=operation_id, clock=clock)


def a_sync(row: Mapping[str, Any], number: int, *, clock: timedelta = timedelta(0), **fields: Any) -> list[Sending]:
    """Return the start and the completion of one sync, told apart from all others by its number of documents."""
    now = datetime.now(UTC) + clock
    common = fields | {"documents_processed": number}
    started = a_sync_message(row, "sync_started", timestamp=now.isoformat(), **common)
    ended = now + timedelta(milliseconds=50)
    completed = a_sync_message(row, "sync_completed", timestamp=ended.isoformat(), **common)
    return [
        a_message(started, "started", marker=str(number)),
        a_message(completed, "succeeded", after=0.05, marker=str(number)),
    ]


class ExternalService:
    """One thread owns the broker's connection; what is not confirmed is sent again, as integration.md asks."""

    def __init__(self, receiver: Receiver, broker_url: str) -> None:
        self.receiver = receiver
        self.door: Callable[[Received], Door] = lambda _: Door()
        self.reply: Reply = honest
        self.sent: list[Sent] = []
        # Operations that are acted on already; and those that the fault leaves without an answer.
        self.acted: set[str] = set()
        self.unanswered: set[str] = set()
        self._broker_url = broker_url
        self._due: list[tuple[float, int, Sending]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish_for_ever, name="external service", daemon=True)
        receiver.otherwise = self._serve

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(15)

    def send(self, *sendings: Sending) -> None:
        """Send each when it is due."""
        with self._changed:
            for sending in sendings:
                heapq.heappush(self._due, (time.monotonic() + sending.after, next(self._order), sending))
            self._changed.notify()

    @property
    def unsent(self) -> int:
        """How many messages are not confirmed yet."""
        with self._changed:
            return len(self._due)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        webhook: Received = handler.webhook  # type: ignore[attr-defined]
        door = self.door(webhook)
        operation_id = webhook.json["operation_id"]
        if door.takes and operation_id not in self.acted:
            self.acted.add(operation_id)
            replies = self.reply(webhook.json)
            if not replies:
                self.unanswered.add(operation_id)
            self.send(*replies)
        door.behave(handler)

    def _publish_for_ever(self) -> None:
        while not self._over.is_set():
            # The broker may be away, which is often what the run is about.
            with suppress(OSError, amqp.AMQPError), channel(self._broker_url) as opened:
                for sending in self._waited_for():
                    message = amqp.Message(
                        sending.body,
                        content_type="application/json",
                        delivery_mode=2,
                        application_headers=dict(sending.headers),
                    )
                    opened.basic_publish(message, routing_key=STATUS)
                    self._confirmed(sending)
            self._over.wait(RECONNECT)

    def _waited_for(self) -> Iterator[Sending]:
        """Yield what is due and leave it in place: it goes when it is confirmed."""
        while not self._over.is_set():
            with self._changed:
                wait = self._due[0][0] - time.monotonic() if self._due else 1.0
                if wait > 0:
                    self._changed.wait(min(wait, 1.0))
                    continue
                self._current = self._due[0]
            yield self._current[2]

    def _confirmed(self, sending: Sending) -> None:
        with self._changed:
            self._due.remove(self._current)
            heapq.heapify(self._due)
        self.sent.append(sending.sent)
