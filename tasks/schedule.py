"""What beat sends, and when. It never schedules syncs: the external service has its own scheduler."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

from app.config import Settings
from app.jobs import HOUSEKEEPING

DISPATCH, EXPIRE, PURGE = "housekeeping.dispatch", "housekeeping.expire", "housekeeping.purge"


def schedule(settings: Settings) -> dict[str, Any]:
    """Return beat's schedule; a sweep that could not start before the next is due is dropped by its expiry."""

    def every(interval: timedelta, task: str) -> dict[str, Any]:
        seconds = interval.total_seconds()
        return {"task": task, "schedule": seconds, "options": {"queue": HOUSEKEEPING, "expires": max(seconds, 2.0)}}

    return {
        "dispatch": every(settings.dispatch_interval_seconds, DISPATCH),
        "expire": every(settings.expiry_interval_seconds, EXPIRE),
        # At night, in batches of its own.
        "purge": {"task": PURGE, "schedule": crontab(hour="3", minute="17"), "options": {"queue": HOUSEKEEPING}},
    }
