"""Celery's own events, which Flower shows: sent together, for one message a step costs as much as half the task."""

from __future__ import annotations

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
        hub.call_repeatedly(EVENTS_EVERY, self._flush_events)
