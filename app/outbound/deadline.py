"""A limit on the whole of an HTTP exchange, which neither requests nor urllib3 has.

Their timeouts are for each read, so a peer that sends a byte a second holds a thread for ever. Here a timer shuts the
exchange's sockets down, which ends whatever read or write is blocked on them. See
`docs/decisions/0005-total-deadline.md`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """The time that is left for one exchange; `passed` tells whether it ran out."""

    def __init__(self, limit: timedelta) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(limit.total_seconds(), self._cut)
        self._timer.daemon = True

    def watch(self, opened: socket.socket) -> None:
        """Put a socket under this deadline; one opened too late is cut at once.

        A second descriptor is kept: TLS takes the first one away from its socket, and both lead to one connection.
        """
        with self._lock:
            self._sockets.append(opened.dup())
            if self.passed:
                _shut_down(self._sockets[-1])

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            for opened in self._sockets:
                _shut_down(opened)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the clock."""
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with self._lock:
                for opened in self._sockets:
                    opened.close()
                self._sockets.clear()


def _shut_down(opened: socket.socket) -> None:
    # It may be closed, or not connected yet; then nothing blocks on it either.
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


class DeadlineAdapter(HTTPAdapter):
    """A transport whose every connection, before its TLS handshake, is put under one deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools' connections watched ones."""
        super().init_poolmanager(*args, **kwargs)
        deadline = self._deadline

        class Watched(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                opened = super()._new_conn()
                deadline.watch(opened)
                return opened

        class WatchedTls(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                opened = super()._new_conn()
                deadline.watch(opened)
                return opened

        class Pool(HTTPConnectionPool):
            ConnectionCls = Watched

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = WatchedTls

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
