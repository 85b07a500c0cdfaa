"""A limit on the whole of an HTTP exchange, which neither requests nor urllib3 has.

Their timeouts are for each read, so a peer that sends a byte a second holds a thread for ever. Here a clock shuts the
exchange's sockets down, which ends whatever read or write is blocked on them. See
`docs/decisions/0005-total-deadline.md`.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta


class TotalDeadline:
    """The time that is left for one exchange; `is_expired` tells whether it ran out."""

    def __init__(self, limit: timedelta) -> None:
        self.is_expired = False
        self.ends_at = math.inf
        self._limit = limit
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def add_socket(self, open_socket: socket.socket) -> None:
        """Put a socket under this deadline; one opened too late is cut at once.

        A second descriptor is kept: TLS takes the first one away from its socket, and both lead to one connection.
        """
        with self._lock:
            self._sockets.append(open_socket.dup())
            if self.is_expired:
                _shut_down_socket(self._sockets[-1])

    def expire(self) -> None:
        """End the exchange."""
        with self._lock:
            self.is_expired = True
            for opened in self._sockets:
                _shut_down_socket(opened)

    @contextlib.contextmanager
    def enforced(self) -> Iterator[None]:
        """Run the clock."""
        self.ends_at = time.monotonic() + self._limit.total_seconds()
        _deadline_thread.add(self)
        try:
            yield
        finally:
            _deadline_thread.remove(self)
            with self._lock:
                for opened in self._sockets:
                    opened.close()
                self._sockets.clear()


class _DeadlineThread:
    """The thread that cuts what runs out: one for all, for an exchange would wait for the start of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[TotalDeadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, deadline: TotalDeadline) -> None:
        with self._changed:
            self._running.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                # The first one, or the first since this process was forked.
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.ends_at < self._wakes_at:
                self._changed.notify()

    def remove(self, deadline: TotalDeadline) -> None:
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
                deadline.expire()


_deadline_thread = _DeadlineThread()


def _shut_down_socket(open_socket: socket.socket) -> None:
    # It may be closed, or not connected yet; then nothing blocks on it either.
    with contextlib.suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
