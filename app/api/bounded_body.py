"""A request's body that is read within a time, however slowly it comes: till then, what has come is in our memory.

However quickly it comes, too: of one that never has to be waited for, a greenlet would read on and on while nobody else
had a turn, though the request was answered long ago; gunicorn looks for the next one behind its body.

Used by the web server alone (`gunicorn.conf.py`): it counts what a greenlet waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import gevent

# What is read of a body at most, in bytes: an honest one is a third of it; behind a longer one comes no other request.
MAX_READ_BYTES = 1024 * 1024
# What is read of one in one go, in bytes, of which each may be a chunk of its own.
READ_CHUNK_BYTES = 1024
# How long bodies are read, and others wait for their turn, and how long that is, in seconds. Of a sleep of nothing
# gevent's loop makes no turn in which it looks at its sockets.
YIELD_AFTER_SECONDS, YIELD_SECONDS = 0.002, 0.001

# The turn of gevent's loop in which the last request of a connection was answered.
_last_answered_loop_iteration: ContextVar[int | None] = ContextVar("answered_in", default=None)


@contextmanager
def yield_before_pipelined_request() -> Iterator[None]:
    """Handle a request; if it was there when the last one of its connection was answered, after others have had a turn.

    Else who sends one behind the other and never has to be waited for is answered, and nobody else is.
    """
    loop = gevent.get_hub().loop
    if loop.iteration == _last_answered_loop_iteration.get():
        gevent.sleep(YIELD_SECONDS)
    try:
        yield
    finally:
        _last_answered_loop_iteration.set(loop.iteration)


class TimeLimitedBody:
    """gunicorn's body of a request, whose reads take so long in all. Each raises TimeoutError after that, or MOST."""

    def __init__(self, body: Any, *, time_limit: timedelta) -> None:
        self._body = body
        self._seconds_left = time_limit.total_seconds()
        self._is_over_limit = False
        self._bytes_read = 0
        self._yielded_at = time.monotonic()

    @property
    def failed(self) -> bool:
        """Whether no more can be read, so that nothing behind it is a request: gunicorn ends the connection."""
        return self._is_over_limit or bool(getattr(self._body, "failed", False))

    def read(self, size: int | None = None) -> bytes:
        """Read so many bytes, or all."""
        bytes_left = MAX_READ_BYTES + 1 if size is None or size < 0 else size
        pieces: list[bytes] = []
        while bytes_left > 0 and (piece := self._read_counted(self._body.read, min(bytes_left, READ_CHUNK_BYTES))):
            pieces.append(piece)
            bytes_left -= len(piece)
        return b"".join(pieces)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line."""
        return self._read_counted(self._body.readline, size)

    def readlines(self, _: int | None = None) -> list[bytes]:
        """Read all lines; how many are wanted is a hint that need not be taken (PEP 3333)."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines."""
        while line := self.readline():
            yield line

    def _read_counted(self, read_function: Callable[..., Any], *args: Any) -> bytes:
        found = bytes(self._read_timed(read_function, *args))
        self._bytes_read += len(found)
        if self._bytes_read > MAX_READ_BYTES:
            self._is_over_limit = True
            raise TimeoutError
        if time.monotonic() - self._yielded_at > YIELD_AFTER_SECONDS:
            gevent.sleep(YIELD_SECONDS)
            self._yielded_at = time.monotonic()
        return found

    def _read_timed(self, read_function: Callable[..., Any], *args: Any) -> Any:
        if self._seconds_left <= 0:
            self._is_over_limit = True
            raise TimeoutError
        started = time.monotonic()
        try:
            with gevent.Timeout(self._seconds_left, TimeoutError):
                return read_function(*args)
        except TimeoutError:
            self._is_over_limit = True
            raise
        finally:
            self._seconds_left -= time.monotonic() - started
