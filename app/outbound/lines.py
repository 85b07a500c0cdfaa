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
KEPT = 1024 * 1024

HEARTBEAT, EXPIRED = ": heartbeat\n\n", ": the token has expired\n\n"
# What a token that has just expired leaves for an answer, in seconds; 0 would not wait at all.
SHORTEST = 0.1
_LAST_CHUNK = b"0\r\n\r\n"


class LetGo(OSError):
    """What ends a response whose connection was taken over: gunicorn closes its descriptor and says nothing more."""

    def __init__(self) -> None:
        super().__init__(errno.ENOTCONN, "the connection was taken over")


class Told:
    """An event as browsers are told of it, put into words once for all of them."""

    def __init__(self, message: Message) -> None:
        self.order = events.order(message.id)
        self.text = str(message)

    @cached_property
    def plain(self) -> bytes:
        """The event for HTTP/1.0, where the end of the connection ends the body."""
        return self.text.encode()

    @cached_property
    def chunk(self) -> bytes:
        """The event as a chunk (RFC 9112, section 7.1)."""
        return _chunk(self.plain)


def _chunk(text: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(text), text)


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the socket of a request that can be taken over from its server, or None: then a thread has to wait."""
    opened = environ.get("gunicorn.socket")
    takes = environ["REQUEST_METHOD"] == "GET" and environ["SERVER_PROTOCOL"] in {"HTTP/1.0", "HTTP/1.1"}
    return opened if takes and not isinstance(opened, ssl.SSLSocket) else None


def end_with(opened: socket.socket, ends_at: datetime) -> None:
    """Let no write of a stream's beginning outlast its token, whose end is `ends_at`."""
    left = max(SHORTEST, (ends_at - datetime.now(UTC)).total_seconds())
    opened.settimeout(min(left, opened.gettimeout() or left))


@dataclass(eq=False, slots=True)
class Line:
    """An open stream. `after` is the order of what it was told before; it ends with the token that opened it."""

    channel: str
    opened: socket.socket
    chunked: bool
    after: tuple[int, int]
    ends_at: datetime
    heartbeat: float
    said_at: float = 0.0
    is_left: bool = False

    @classmethod
    def take_over(
        cls,
        of_server: socket.socket,
        *,
        channel: str,
        chunked: bool,
        after: str,
        ends_at: datetime,
        heartbeat: timedelta,
    ) -> Line:
        """Take a connection over from the server, whose own descriptor it may close."""
        opened = of_server.dup()
        opened.settimeout(0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KEPT)
        return cls(channel, opened, chunked, events.order(after), ends_at, heartbeat.total_seconds(), time.monotonic())

    def offer(self, told: Told) -> bool:
        """Tell an event, unless it was told before; False if the browser is too far behind."""
        if told.order <= self.after:
            return True
        self.after = told.order
        return self._send(told.chunk if self.chunked else told.plain)

    def tend(self, now: float) -> bool:
        """Say that the line lives when nothing else was said for long; False if it does not, or its token ends it."""
        if self.is_left:
            return False
        if datetime.now(UTC) >= self.ends_at:
            self._say(EXPIRED)
            if self.chunked:
                self._send(_LAST_CHUNK)
            return False
        if now - self.said_at < self.heartbeat:
            return True
        # To one that is left the first goes nowhere, and the next fails.
        return self._say(HEARTBEAT)

    def drop(self) -> None:
        """End the line."""
        with suppress(OSError):
            self.opened.shutdown(socket.SHUT_RDWR)
        self.opened.close()

    def _say(self, text: str) -> bool:
        return self._send(_chunk(text.encode()) if self.chunked else text.encode())

    def _send(self, framed: bytes) -> bool:
        # Never waits. What does not fit the kernel's buffer is too much, and half an event ends the line anyway.
        try:
            sent = self.opened.send(framed)
        except BlockingIOError:
            return False
        except OSError:
            self.is_left = True
            return True
        self.said_at = time.monotonic()
        return sent == len(framed)
