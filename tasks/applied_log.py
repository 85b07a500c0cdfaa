"""One line of the log for what a second brought; a line for each batch of one message is gigabytes a day."""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger()

# In seconds.
WRITE_INTERVAL_SECONDS = 1.0


class AppliedMessagesLog:
    """Counts what was applied; `call_later` calls a function after some seconds."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        self._call_later = call_later
        self._batches = self._messages = self._refused = 0

    def add(self, *, messages: int, refused: int) -> None:
        """Count a batch; the line comes within a second."""
        if not self._batches:
            self._call_later(WRITE_INTERVAL_SECONDS, self.write)
        self._batches += 1
        self._messages += messages
        self._refused += refused

    def write(self) -> None:
        """Write the line now, if there is anything to say."""
        if self._batches:
            counts = {"messages": self._messages, "refused": self._refused, "batches": self._batches}
            self._batches = self._messages = self._refused = 0
            log.info("status_messages_applied", **counts)
