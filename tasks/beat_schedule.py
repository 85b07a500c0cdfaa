"""What beat sends, and when. It never schedules syncs: the external service has its own scheduler."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from celery import beat
from celery.beat import BeatLazyFunc
from celery.schedules import BaseSchedule, crontab, schedstate

from app.config import Settings
from app.jobs import HOUSEKEEPING, publish_options_for_queue

DISPATCH_TASK, EXPIRE_TASK, PURGE_TASK = "housekeeping.dispatch", "housekeeping.expire", "housekeeping.purge"
HOUSEKEEPING_PUBLISH_OPTIONS = {"queue": HOUSEKEEPING, **publish_options_for_queue(HOUSEKEEPING)}
# How long a sweep waits for a worker at least, in seconds.
MIN_MESSAGE_LIFETIME_SECONDS = 2.0


class MonotonicInterval(BaseSchedule):
    """An interval by the monotonic clock: one that a host sets back or forth neither stops nor hurries it."""

    def __init__(self, interval: timedelta) -> None:
        self._seconds = interval.total_seconds()
        self._due_at = time.monotonic() + self._seconds
        super().__init__()

    def is_due(self, last_run_at: datetime) -> schedstate:  # noqa: ARG002 - Celery's signature; that is the wall clock's
        """Tell whether it is due, which it then is no more, and in how many seconds to ask again."""
        left = self._due_at - time.monotonic()
        if left > 0:
            return schedstate(is_due=False, next=left)
        self._due_at = time.monotonic() + self._seconds
        return schedstate(is_due=True, next=self._seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MonotonicInterval) and self._seconds == other._seconds

    def __hash__(self) -> int:
        return hash(self._seconds)


def build_beat_schedule(settings: Settings) -> dict[str, Any]:
    """Return beat's schedule; a sweep that no worker takes before the next is due is dropped by the broker.

    By the broker's clock, from when it has the message: Celery's `expires` is a moment by this host's clock, which the
    worker's host judges by its own.
    """

    def every(interval: timedelta, task: str) -> dict[str, Any]:
        kept = max(interval.total_seconds(), MIN_MESSAGE_LIFETIME_SECONDS)
        options = {**HOUSEKEEPING_PUBLISH_OPTIONS, "expiration": kept}
        return {"task": task, "schedule": MonotonicInterval(interval), "options": options}

    # Once a second is often enough to tell how this host's clock goes.
    beat_time_argument = {"kwargs": {"said_at": BeatLazyFunc(time.time)}}
    at_night, options = crontab(hour="3", minute="17"), dict(HOUSEKEEPING_PUBLISH_OPTIONS)
    return {
        "dispatch": every(settings.dispatch_interval_seconds, DISPATCH_TASK) | beat_time_argument,
        "expire": every(settings.expiry_interval_seconds, EXPIRE_TASK),
        # In batches of its own.
        "purge": {"task": PURGE_TASK, "schedule": at_night, "options": options},
    }


@contextmanager
def _delay_signals(*signal_numbers: signal.Signals) -> Iterator[None]:
    """Let signals that come within the block be handled when it ends."""
    received: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in signal_numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


class MonotonicScheduler(beat.Scheduler):
    """Celery's scheduler without a memory, which goes by the monotonic clock, and whose talk no signal breaks in.

    Celery's handler of TERM and INT closes the connection there and then. Had the broker's word for a publish been read
    halfway, it took the other half for a frame's head, and waited for the rest of that frame for ever.
    """

    def adjust(self, n: float | None, drift: float = 0.0) -> float | None:
        """Return when to look again: just then. Celery looks a hundredth of a second early, and then once more."""
        return n and n + drift

    def _when(self, entry: Any, next_time_to_run: float, mktime: Any = None) -> float:  # noqa: ARG002 - Celery's
        """Return an entry's place in the heap; by Celery's, the wall clock's, one set back looks at none of them."""
        return time.monotonic() + (self.adjust(next_time_to_run) or 0)

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send one task; a signal waits until the broker has confirmed it or has been given up.

        A broker that confirms nothing (in an alarm, or frozen) is a time-out without a word, and Celery logs that.
        """
        with _delay_signals(signal.SIGTERM, signal.SIGINT):
            try:
                return super().apply_async(*args, **kwargs)
            except beat.SchedulingError as problem:
                cause = problem.__context__ or problem
                said = str(cause) or "the broker did not confirm in time: is it in an alarm, or frozen?"
                raise beat.SchedulingError(f"{type(cause).__name__}: {said}") from cause
