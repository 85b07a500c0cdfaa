"""The queue's other end: hears what the service publishes, byte for byte, and looks at how it declared the queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import amqp

from app.domain.json_decoding import decode_json

AMQP_PORT, AMQPS_PORT = 5672, 5671
# A queue that is not there yet is looked for again after this; a broker is not to be flooded with questions.
LOOK_AGAIN = 0.1


class Unusable(Exception):
    """The broker or the queue cannot be used for a trial; the text says why."""


@dataclass(frozen=True)
class Heard:
    """One message; `at` is the monotonic time of its arrival here, `said` its JSON object if it is one."""

    body: str
    at: float
    persistent: bool
    exchange: str

    @property
    def said(self) -> dict[str, Any]:
        """The message as an object; empty if it is none."""
        try:
            decoded = decode_json(self.body)
        except ValueError:
            return {}
        return decoded if isinstance(decoded, dict) else {}


class Listener:
    """Listens to one queue for as long as it is entered. It declares nothing: that is part of what is judged."""

    def __init__(self, url: str, *, queue: str) -> None:
        self.heard: list[Heard] = []
        self._queue = queue
        self._url = urlsplit(url)
        self._consuming = False

    def __enter__(self) -> Self:
        """Connect, and make sure that nobody else uses the queue. Raises Unusable."""
        try:
            self._connection = self._connect()
        except (OSError, amqp.AMQPError) as problem:
            raise Unusable(f"The broker cannot be used: {problem}") from None
        try:
            found = self._passively()
        except amqp.ResourceLocked:
            return self
        if found is not None and (found.message_count or found.consumer_count):
            self._connection.close()
            what = f"holds {found.message_count} messages and has {found.consumer_count} consumers"
            advice = "stop Rita's worker and empty it, or use a virtual host of its own"
            raise Unusable(f"The queue {self._queue} {what}: {advice}")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def listen(self, enough: Callable[[], bool], *, within: timedelta) -> bool:
        """Hear messages until there are enough; tell whether there were in time. Raises Unusable."""
        deadline = time.monotonic() + within.total_seconds()
        while not enough():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._consume()
            try:
                self._connection.drain_events(timeout=min(left, LOOK_AGAIN))
            except TimeoutError:
                continue
            except (OSError, amqp.AMQPError) as problem:
                raise Unusable(f"The broker went away: {problem}") from None
        return True

    def declaration(self) -> str | None:
        """Return what is wrong with the way in which the service declared the queue, or None."""
        try:
            if self._passively() is None:
                return f"nobody has declared {self._queue}"
            channel = self._connection.channel()
            channel.queue_declare(self._queue, durable=True, exclusive=False, auto_delete=False)
            channel.close()
        except (amqp.PreconditionFailed, amqp.ResourceLocked) as refused:
            return str(refused.reply_text)
        return None

    def _consume(self) -> None:
        """Begin to consume, once the queue is there."""
        if self._consuming:
            return
        try:
            if self._passively() is None:
                return
        except amqp.ResourceLocked:
            return
        channel = self._connection.channel()
        # Bytes as they are on the wire, whatever their content encoding claims.
        channel.auto_decode = False
        channel.basic_consume(self._queue, no_ack=True, callback=self._hear)
        self._consuming = True

    def _hear(self, message: Any) -> None:
        body = message.body if isinstance(message.body, str) else bytes(message.body).decode(errors="replace")
        persistent = message.properties.get("delivery_mode") == 2  # noqa: PLR2004 - AMQP's own number
        self.heard.append(Heard(body, time.monotonic(), persistent, message.delivery_info["exchange"]))

    def _passively(self) -> Any:
        """Return what the broker says of the queue, or None if there is none. Raises amqp.ResourceLocked."""
        channel = self._connection.channel()
        try:
            found = channel.queue_declare(self._queue, passive=True)
        except amqp.NotFound:
            return None
        channel.close()
        return found

    def _connect(self) -> Any:
        tls = self._url.scheme == "amqps"
        connection = amqp.Connection(
            f"{self._url.hostname}:{self._url.port or (AMQPS_PORT if tls else AMQP_PORT)}",
            userid=unquote(self._url.username or "guest"),
            password=unquote(self._url.password or "guest"),
            virtual_host=unquote(self._url.path[1:]) or "/",
            ssl={"server_hostname": self._url.hostname} if tls else False,
            connect_timeout=5,
            read_timeout=10,
            write_timeout=10,
        )
        connection.connect()
        return connection
