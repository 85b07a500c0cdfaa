"""A browser's connection without a thread of its own: its server lets go of it, and who has something to say writes.

A thread (here a greenlet) for each stream that only waits costs fifty KiB, and an event to a thousand of them as many
switches. See `docs/decisions/0016-streams-without-threads.md`.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from app.outbound import events
from app.outbound.events import Message

# What the kernel may keep of a line whose browser reads slowly, in bytes: the line's queue, which costs nothing empty.
# Such a browser costs this alone, which the kernel doubles for its own account, as far as `net.core.wmem_max` allows.
SEND_BUFFER_BYTES = 1024 * 1024

HEARTBEAT_COMMENT, TOKEN_EXPIRED_COMMENT = ": heartbeat\n\n", ": the token has expired\n\n"
# What a token that has just expired leaves for an answer, in seconds; 0 would not wait at all.
MIN_WRITE_TIMEOUT_SECONDS = 0.1
_LAST_CHUNK = b"0\r\n\r\n"


class SocketHandedOff(OSError):
    """What ends a response whose connection was taken over: gunicorn closes its descriptor and says nothing more."""

    def __init__(self) -> None:
        super().__init__(errno.ENOTCONN, "the connection was taken over")


class EncodedEvent:
    """An event as it is sent to browsers, encoded once for all of them."""

    def __init__(self, message: Message) -> None:
        self.id_order = events.event_id_order(message.id)
        self.text = str(message)

    @cached_property
    def unchunked(self) -> bytes:
        """The event for HTTP/1.0, where the end of the connection ends the body."""
        return self.text.encode()

    @cached_property
    def chunked(self) -> bytes:
        """The event as a chunk (RFC 9112, section 7.1)."""
        return _http_chunk(self.unchunked)


def _http_chunk(text: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(text), text)


def socket_to_take_over(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the socket of a request that can be taken over from its server, or None: then a thread has to wait."""
    opened = environ.get("gunicorn.socket")
    takes = environ["REQUEST_METHOD"] == "GET" and environ["SERVER_PROTOCOL"] in {"HTTP/1.0", "HTTP/1.1"}
    return opened if takes and not isinstance(opened, ssl.SSLSocket) else None


def limit_writes_to_token_lifetime(open_socket: socket.socket, token_expires_at: datetime) -> None:
    """Let no write of a stream's beginning outlast its token, whose end is `token_expires_at`."""
    seconds_left = max(MIN_WRITE_TIMEOUT_SECONDS, (token_expires_at - datetime.now(UTC)).total_seconds())
    open_socket.settimeout(min(seconds_left, open_socket.gettimeout() or seconds_left))


@dataclass(eq=False, slots=True)
class StreamConnection:
    """An open stream, which ends with the token that opened it. `last_sent_order` is that of the last event."""

    channel: str
    client_socket: socket.socket
    is_chunked: bool
    last_sent_order: tuple[int, int]
    token_expires_at: datetime
    heartbeat_seconds: float
    last_sent_at: float = 0.0
    is_disconnected: bool = False

    @classmethod
    def take_over(
        cls,
        server_socket: socket.socket,
        *,
        channel: str,
        is_chunked: bool,
        after_event_id: str,
        token_expires_at: datetime,
        heartbeat: timedelta,
    ) -> StreamConnection:
        """Take a connection over from the server, whose own descriptor it may close."""
        own_socket = server_socket.dup()
        own_socket.settimeout(0)
        own_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        order, seconds = events.event_id_order(after_event_id), heartbeat.total_seconds()
        return cls(channel, own_socket, is_chunked, order, token_expires_at, seconds, last_sent_at=time.monotonic())

    def deliver_event(self, event: EncodedEvent) -> bool:
        """Send an event, unless it was sent before; False if the browser is too far behind."""
        if event.id_order <= self.last_sent_order:
            return True
        self.last_sent_order = event.id_order
        return self._send(event.chunked if self.is_chunked else event.unchunked)

    def send_heartbeat_or_expire(self, now: float) -> bool:
        """Say that the line lives when nothing else was said for long; False if it does not, or its token ends it."""
        if self.is_disconnected:
            return False
        if datetime.now(UTC) >= self.token_expires_at:
            self._send_text(TOKEN_EXPIRED_COMMENT)
            if self.is_chunked:
                self._send(_LAST_CHUNK)
            return False
        if now - self.last_sent_at < self.heartbeat_seconds:
            return True
        # To one that is left the first goes nowhere, and the next fails.
        return self._send_text(HEARTBEAT_COMMENT)

    def close_stream(self) -> None:
        """End the line."""
        with suppress(OSError):
            self.client_socket.shutdown(socket.SHUT_RDWR)
        self.client_socket.close()

    def _send_text(self, text: str) -> bool:
        return self._send(_http_chunk(text.encode()) if self.is_chunked else text.encode())

    def _send(self, encoded: bytes) -> bool:
        # Never waits. What does not fit the kernel's buffer is too much, and half an event ends the line anyway.
        try:
            sent = self.client_socket.send(encoded)
        except BlockingIOError:
            return False
        except OSError:
            self.is_disconnected = True
            return True
        self.last_sent_at = time.monotonic()
        return sent == len(encoded)
