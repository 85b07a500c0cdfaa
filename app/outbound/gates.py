"""A few at a time under each name: what each of them holds in memory is bounded by how many are let in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Crowded(Exception):
    """Nobody came out in time."""


@dataclass(slots=True)
class _Gate:
    places: threading.BoundedSemaphore
    users: int = 0


class Gates:
    """Lets so many in at once under each name; who comes after them waits."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()

    @contextmanager
    def through(self, name: str, *, within: float) -> Iterator[None]:
        """Hold a place under a name. Raises Crowded after `within` seconds without one."""
        with self._lock:
            gate = self._gates.setdefault(name, _Gate(threading.BoundedSemaphore(self._places)))
            gate.users += 1
        try:
            if not gate.places.acquire(timeout=within):
                raise Crowded
            try:
                yield
            finally:
                gate.places.release()
        finally:
            with self._lock:
                gate.users -= 1
                if not gate.users:
                    del self._gates[name]
