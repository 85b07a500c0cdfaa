"""Which queues there are, and which worker may consume which."""

from __future__ import annotations

from app.config import Settings
from app.jobs import task_queues
from app.outbound.broker import Queue, plain_queue

__all__ = ["status_queues", "task_queues"]


def status_queues(settings: Settings) -> list[Queue]:
    """Return the external service's queues, which Celery must neither redeclare nor bind to an exchange."""
    return [plain_queue(name) for name in settings.status_queues]
