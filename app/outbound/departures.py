"""Which browsers have left, asked of the kernel for all at once: whoever only writes learns it by the write after next.

The kernel keeps the list (epoll), so that looking costs nothing for those that are still there. Where it has none
(macOS), heartbeats find out.
"""

from __future__ import annotations

import select
from functools import cached_property
from typing import Any

from gevent.monkey import get_original

from app.outbound.lines import Line

IS_TOLD = hasattr(select, "EPOLLRDHUP")


class Departures:
    """Some lines, watched for their browser's end. Not for several threads at once."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def watch(self, line: Line) -> None:
        """Begin to watch a line."""
        if IS_TOLD:
            self._lines[line.opened.fileno()] = line
            self._epoll.register(line.opened.fileno(), select.EPOLLRDHUP)

    def forget(self, line: Line) -> None:
        """Watch a line no more; it must still be open, for the next one may get its number."""
        if self._lines.pop(line.opened.fileno(), None):
            self._epoll.unregister(line.opened.fileno())

    def left(self) -> list[Line]:
        """Return the lines whose browser has closed its end, or is gone altogether."""
        return [self._lines[number] for number, _ in self._epoll.poll(0)] if self._lines else []

    @cached_property
    def _epoll(self) -> Any:
        # gevent takes it away, since to wait for it would stop all greenlets; here nobody waits. Made with the first
        # line, so never before a fork.
        return get_original("select", "epoll")()
