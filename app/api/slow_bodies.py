"""A request's body that is read within a time, however slowly it comes: till then, what has come is in our memory.

Used by the web server alone (`gunicorn.conf.py`): it counts what a greenlet waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import gevent


class BoundedBody:
    """gunicorn's body of a request, whose reads take so long in all. Each raises TimeoutError after that."""

    def __init__(self, body: Any, *, within: timedelta) -> None:
        self._body = body
        self._left = within.total_seconds()
        self._is_late = False

    @property
    def failed(self) -> bool:
        """Whether no more can be read, so that nothing behind it is a request: gunicorn ends the connection."""
        return self._is_late or bool(getattr(self._body, "failed", False))

    def read(self, size: int | None = None) -> bytes:
        """Read so many bytes, or all."""
        return bytes(self._timed(self._body.read, size))

    def readline(self, size: int | None = None) -> bytes:
        """Read a line."""
        return bytes(self._timed(self._body.readline, size))

    def readlines(self, size: int | None = None) -> list[bytes]:
        """Read all lines."""
        return list(self._timed(self._body.readlines, size))

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines."""
        while line := self.readline():
            yield line

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
