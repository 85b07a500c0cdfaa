"""What answers of the three servers: asked by anybody as often as they like, so each is looked at by one at a time.

Only the database takes a process out of service: without the broker requests are accepted and wait, and without Redis
syncs go on. If those took every web process out at once, there would be nobody to say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from datetime import timedelta
from threading import Lock, Thread

NEEDED = "database"
# What is as old as this is not asked for again.
FRESH = timedelta(seconds=1)
# A busy database is waited for, less long than a probe waits; what is not needed must not make the answer late.
PATIENCE, PATIENCE_WITH_OTHERS = timedelta(seconds=4), timedelta(seconds=1)

Look = Callable[[], bool]


class Readiness:
    """The latest looks at each server, of one process."""

    def __init__(self, looks: Mapping[str, Look]) -> None:
        self._looks = looks
        self._lock = Lock()
        self._under_way: dict[str, Future[bool]] = {}
        self._known: Mapping[str, bool] = {}
        self._fresh_until = 0.0

    def known(self) -> Mapping[str, bool]:
        """Return which servers answer; whoever asks while somebody looks gets what that one sees."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._known = self._look()
                self._fresh_until = time.monotonic() + FRESH.total_seconds()
            return self._known

    def _look(self) -> dict[str, bool]:
        for name, look in self._looks.items():
            # One that hangs is not asked again before it has answered.
            if name not in self._under_way or self._under_way[name].done():
                self._under_way[name] = _begun(look)
        began = time.monotonic()
        wait([self._under_way[NEEDED]], PATIENCE.total_seconds())
        wait(self._under_way.values(), max(0.0, began + PATIENCE_WITH_OTHERS.total_seconds() - time.monotonic()))
        return {name: look.done() and look.result() for name, look in self._under_way.items()}


def _begun(look: Look) -> Future[bool]:
    future: Future[bool] = Future()
    Thread(target=lambda: future.set_result(look()), name="readiness", daemon=True).start()
    return future
