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
MOST = 1024 * 1024
# What is read of one in one go, in bytes, of which each may be a chunk of its own.
PIECE = 1024
# How long bodies are read, and others wait for their turn, and how long that is, in seconds. Of a sleep of nothing
# gevent's loop makes no turn in which it looks at its sockets.
READS_FOR, A_TURN = 0.002, 0.001

# The turn of gevent's loop in which the last request of a connection was answered.
_answered_in: ContextVar[int | None] = ContextVar("answered_in", default=None)


@contextmanager
def after_others() -> Iterator[None]:
    """Handle a request; if it was there when the last one of its connection was answered, after others have had a turn.

    Else who sends one behind the other and never has to be waited for is answered, and nobody else is.
    """
    loop = gevent.get_hub().loop
    if loop.iteration == _answered_in.get():
        gevent.sleep(A_TURN)
    try:
        yield
    finally:
        _answered_in.set(loop.iteration)


class BoundedBody:
    """gunicorn's body of a request, whose reads take so long in all. Each raises TimeoutError after that, or MOST."""

    def __init__(self, body: Any, *, within: timedelta) -> None:
        self._body = body
        self._left = within.total_seconds()
        self._is_late = False
        self._count = 0
        self._had_turn_at = time.monotonic()

    @property
    def failed(self) -> bool:
        """Whether no more can be read, so that nothing behind it is a request: gunicorn ends the connection."""
        return self._is_late or bool(getattr(self._body, "failed", False))

    def read(self, size: int | None = None) -> bytes:
        """Read so many bytes, or all."""
        left = MOST + 1 if size is None or size < 0 else size
        pieces: list[bytes] = []
        while left > 0 and (piece := self._counted(self._body.read, min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line."""
        return self._counted(self._body.readline, size)

    def readlines(self, _: int | None = None) -> list[bytes]:
        """Read all lines; how many are wanted is a hint that need not be taken (PEP 3333)."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines."""
        while line := self.readline():
            yield line

    def _counted(self, read: Callable[..., Any], *args: Any) -> bytes:
        found = bytes(self._timed(read, *args))
        self._count += len(found)
        if self._count > MOST:
            self._is_late = True
            raise TimeoutError
        if time.monotonic() - self._had_turn_at > READS_FOR:
            gevent.sleep(A_TURN)
            self._had_turn_at = time.monotonic()
        return found

    def _timed(self, read: Callable[..., Any], *args: Any) -> Any:
        if self._left <= 0:
            self._is_late = True
            raise TimeoutError
        started = time.monotonic()
        try:
            with gevent.Timeout(self._left, TimeoutError):
                return read(*args)
        except TimeoutError:
            self._is_late = True
            raise
        finally:
            self._left -= time.monotonic() - started
