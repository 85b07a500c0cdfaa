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

REQUIRED_SERVER = "database"
# What is as old as this is not asked for again.
RESULT_LIFETIME = timedelta(seconds=1)
# A busy database is waited for, less long than a probe waits; what is not needed must not make the answer late.
DATABASE_CHECK_TIMEOUT, OTHER_CHECKS_TIMEOUT = timedelta(seconds=4), timedelta(seconds=1)

ServerCheck = Callable[[], bool]


class ReadinessChecks:
    """The latest looks at each server, of one process."""

    def __init__(self, checks: Mapping[str, ServerCheck]) -> None:
        self._checks = checks
        self._lock = Lock()
        self._running_checks: dict[str, Future[bool]] = {}
        self._last_results: Mapping[str, bool] = {}
        self._fresh_until = 0.0

    def recent_results(self) -> Mapping[str, bool]:
        """Return which servers answer; whoever asks while somebody looks gets what that one sees."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._last_results = self._run_checks()
                self._fresh_until = time.monotonic() + RESULT_LIFETIME.total_seconds()
            return self._last_results

    def _run_checks(self) -> dict[str, bool]:
        for name, look in self._checks.items():
            # One that hangs is not asked again before it has answered.
            if name not in self._running_checks or self._running_checks[name].done():
                self._running_checks[name] = _start_check_in_thread(look)
        began = time.monotonic()
        wait([self._running_checks[REQUIRED_SERVER]], DATABASE_CHECK_TIMEOUT.total_seconds())
        wait(self._running_checks.values(), max(0.0, began + OTHER_CHECKS_TIMEOUT.total_seconds() - time.monotonic()))
        return {name: look.done() and look.result() for name, look in self._running_checks.items()}


def _start_check_in_thread(check: ServerCheck) -> Future[bool]:
    future: Future[bool] = Future()
    Thread(target=lambda: future.set_result(check()), name="readiness", daemon=True).start()
    return future
