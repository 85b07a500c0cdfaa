"""Celery's own events, which Flower shows: sent together, for one message a step costs as much as half the task.

And sent by the thread of the worker's loop alone. Celery lets a thread of the pool send what has gathered, over the
connection whose heartbeats the loop reads: both read at once, one of them waits for bytes that the other has, in a loop
that keeps the processor, and nothing is delivered until the broker gives the connection up. See decision 0006.
"""

from __future__ import annotations

import sys
from typing import Any

from celery.worker.consumer import Consumer

# Soon enough for whoever watches, in seconds.
EVENTS_EVERY = 0.2


class MonitoredConsumer(Consumer):
    """Celery's consumer, but that a task's events wait for those of others."""

    def on_send_event_buffered(self) -> None:
        """Leave the event in the buffer, where Celery would send it in the loop's next turn."""

    def register_with_event_loop(self, hub: Any) -> None:
        """Send what is in the buffer; the entry ends with the connection that it was made for."""
        super().register_with_event_loop(hub)
        # A full buffer is what would make another thread send it. There is one dispatcher for each connection.
        self.event_dispatcher.buffer_limit = sys.maxsize
        hub.call_repeatedly(EVENTS_EVERY, self._flush_events)
