"""A worker's threads, shared by its organizations: none may have them all, however many of its webhooks are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from threading import Lock
from uuid import UUID

# Of one owner, that a process remembers: more than an organization asks for in an hour. Who makes jobs up has others.
MAX_WAITING_PER_OWNER = 10_000


class PerOwnerConcurrencyLimit:
    """Who has how many deliveries under way in this process, and what waits for one of them to end.

    What waits costs no thread: whoever ends one goes on with the next of the same owner. It is forgotten with the
    process, and found again by the dispatcher, as any job that got lost.
    """

    def __init__(self, max_per_owner: int) -> None:
        self._max_per_owner = max_per_owner
        self._lock = Lock()
        self._running_count: dict[Hashable, int] = defaultdict(int)
        # Each in the order of its coming.
        self._waiting: dict[Hashable, dict[UUID, None]] = defaultdict(dict)

    def try_start_or_queue(self, owner: Hashable, operation_id: UUID) -> bool:
        """Take a part of the owner's share; False if it is used up, and then this one waits."""
        with self._lock:
            if self._running_count[owner] < self._max_per_owner:
                self._running_count[owner] += 1
                return True
            if len(self._waiting[owner]) < MAX_WAITING_PER_OWNER:
                self._waiting[owner][operation_id] = None
            return False

    def take_next_or_release(self, owner: Hashable) -> UUID | None:
        """Return what is to be done next with the part that the caller has, or None, and then it is given back."""
        with self._lock:
            if waiting := self._waiting[owner]:
                first = next(iter(waiting))
                del waiting[first]
                return first
            self._decrement(owner)
            return None

    def release(self, owner: Hashable) -> None:
        """Give a part back, whatever waits; whoever of the owner ends next goes on with that."""
        with self._lock:
            self._decrement(owner)

    def _decrement(self, owner: Hashable) -> None:
        self._running_count[owner] -= 1
        if not self._running_count[owner]:
            # Nothing is kept of whom there may be thousands of.
            del self._running_count[owner]
            self._waiting.pop(owner, None)
