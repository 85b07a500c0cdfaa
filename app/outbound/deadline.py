"""A limit on the whole of an HTTP exchange, which neither requests nor urllib3 has.

Their timeouts are for each read, so a peer that sends a byte a second holds a thread for ever. Here a clock shuts the
exchange's sockets down, which ends whatever read or write is blocked on them. See
`docs/decisions/0005-total-deadline.md`.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.outbound.interim import StatusResponse
from app.outbound.trusting import TrustingAdapter


class Deadline:
    """The time that is left for one exchange; `passed` tells whether it ran out."""

    def __init__(self, limit: timedelta) -> None:
        self.passed = False
        self.ends_at = math.inf
        self._limit = limit
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, opened: socket.socket) -> None:
        """Put a socket under this deadline; one opened too late is cut at once.

        A second descriptor is kept: TLS takes the first one away from its socket, and both lead to one connection.
        """
        with self._lock:
            self._sockets.append(opened.dup())
            if self.passed:
                _shut_down(self._sockets[-1])

    def cut(self) -> None:
        """End the exchange."""
        with self._lock:
            self.passed = True
            for opened in self._sockets:
                _shut_down(opened)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the clock."""
        self.ends_at = time.monotonic() + self._limit.total_seconds()
        _clock.watch(self)
        try:
            yield
        finally:
            _clock.forget(self)
            with self._lock:
                for opened in self._sockets:
                    opened.close()
                self._sockets.clear()


class _Clock:
    """The thread that cuts what runs out: one for all, for an exchange would wait for the start of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def watch(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                # The first one, or the first since this process was forked.
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.ends_at < self._wakes_at:
                self._changed.notify()

    def forget(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.discard(deadline)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                over = [deadline for deadline in self._running if deadline.ends_at <= now]
                self._running.difference_update(over)
                if not over:
                    self._wakes_at = min((deadline.ends_at for deadline in self._running), default=math.inf)
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            for deadline in over:
                deadline.cut()


_clock = _Clock()


def _shut_down(opened: socket.socket) -> None:
    # It may be closed, or not connected yet; then nothing blocks on it either.
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


class DeadlineAdapter(TrustingAdapter):
    """A transport whose every connection, before its TLS handshake, is put under one deadline.

    `trusted` gives what verifies the receiver's certificate; it is asked for only where there is one.
    """

    def __init__(self, deadline: Deadline, *, trusted: Callable[[], ssl.SSLContext]) -> None:
        self._deadline = deadline
        super().__init__(trusted, pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools' connections watched ones."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_Pool, deadline=self._deadline),
            "https": partial(_TlsPool, deadline=self._deadline),
        }


class _Watched:
    """What a connection, of either kind, does when it opens its socket, and what it takes for an answer."""

    response_class: Any = StatusResponse

    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline = deadline

    def _new_conn(self) -> socket.socket:
        opened: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._deadline.watch(opened)
        return opened


class _Connection(_Watched, HTTPConnection):
    pass


class _TlsConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    # Whatever a pool is given that it does not know goes to its connections.
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
