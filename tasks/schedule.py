"""What beat sends, and when. It never schedules syncs: the external service has its own scheduler."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from celery import beat
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


@contextmanager
def _held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals that come within the block be handled when it ends."""
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


class Scheduler(beat.Scheduler):
    """Celery's scheduler without a memory, in whose talk with the broker no signal breaks in.

    Celery's handler of TERM and INT closes the connection there and then. Had the broker's word for a publish been read
    halfway, it took the other half for a frame's head, and waited for the rest of that frame for ever.
    """

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send one task; a signal waits until the broker has confirmed it or has been given up.

        A broker that confirms nothing (in an alarm, or frozen) is a time-out without a word, and Celery logs that.
        """
        with _held_back(signal.SIGTERM, signal.SIGINT):
            try:
                return super().apply_async(*args, **kwargs)
            except beat.SchedulingError as problem:
                cause = problem.__context__ or problem
                said = str(cause) or "the broker did not confirm in time: is it in an alarm, or frozen?"
                raise beat.SchedulingError(f"{type(cause).__name__}: {said}") from cause
