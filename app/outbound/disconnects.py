"""Which browsers have left, asked of the kernel for all at once: whoever only writes learns it by the write after next.

The kernel keeps the list (epoll), so that looking costs nothing for those that are still there. Where it has none
(macOS), heartbeats find out.
"""

from __future__ import annotations

import select
from functools import cached_property
from typing import Any

from gevent.monkey import get_original

from app.outbound.stream_connections import StreamConnection

HAS_EPOLL_HANGUP = hasattr(select, "EPOLLRDHUP")


class DisconnectWatcher:
    """Some lines, watched for their browser's end. Not for several threads at once."""

    def __init__(self) -> None:
        self._connections: dict[int, StreamConnection] = {}

    def watch(self, connection: StreamConnection) -> None:
        """Begin to watch a line."""
        if HAS_EPOLL_HANGUP:
            self._connections[connection.client_socket.fileno()] = connection
            self._epoll.register(connection.client_socket.fileno(), select.EPOLLRDHUP)

    def unwatch(self, connection: StreamConnection) -> None:
        """Watch a line no more; it must still be open, for the next one may get its number."""
        if self._connections.pop(connection.client_socket.fileno(), None):
            self._epoll.unregister(connection.client_socket.fileno())

    def disconnected(self) -> list[StreamConnection]:
        """Return the lines whose browser has closed its end, or is gone altogether."""
        return [self._connections[number] for number, _ in self._epoll.poll(0)] if self._connections else []

    @cached_property
    def _epoll(self) -> Any:
        # gevent takes it away, since to wait for it would stop all greenlets; here nobody waits. Made with the first
        # line, so never before a fork.
        return get_original("select", "epoll")()
