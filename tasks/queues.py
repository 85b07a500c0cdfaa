"""Which queues there are, and which worker may consume which."""

from __future__ import annotations

from app.config import Settings
from app.jobs import task_queues
from app.outbound.broker import Queue, undeclared_queue

__all__ = ["status_message_queues", "task_queues"]


def status_message_queues(settings: Settings) -> list[Queue]:
    """Return the external service's queues, which Celery must neither redeclare nor bind to an exchange."""
    return [undeclared_queue(name) for name in settings.status_queues]
