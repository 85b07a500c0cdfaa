"""A few at a time under each name: what each of them holds in memory is bounded by how many are let in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class ConcurrencyLimitTimeout(Exception):
    """Nobody came out in time."""


@dataclass(slots=True)
class _NamedLimit:
    semaphore: threading.BoundedSemaphore
    user_count: int = 0


class ConcurrencyLimits:
    """Lets so many in at once under each name; who comes after them waits."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self._limits: dict[str, _NamedLimit] = {}
        self._lock = threading.Lock()

    @contextmanager
    def acquire(self, name: str, *, timeout_seconds: float) -> Iterator[None]:
        """Hold a place under a name. Raises ConcurrencyLimitTimeout after `timeout_seconds` seconds without one."""
        with self._lock:
            limit = self._limits.setdefault(name, _NamedLimit(threading.BoundedSemaphore(self._max_concurrent)))
            limit.user_count += 1
        try:
            if not limit.semaphore.acquire(timeout=timeout_seconds):
                raise ConcurrencyLimitTimeout
            try:
                yield
            finally:
                limit.semaphore.release()
        finally:
            with self._lock:
                limit.user_count -= 1
                if not limit.user_count:
                    del self._limits[name]
