"""A worker's threads, shared by its organizations: none may have them all, however many of its webhooks are due."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from threading import Lock
from uuid import UUID


class Shares:
    """Who has how many deliveries under way in this process, and what waits for one of them to end.

    What waits costs no thread: whoever ends one goes on with the next of the same owner. It is forgotten with the
    process, and found again by the dispatcher, as any job that got lost.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._under_way: dict[Hashable, int] = defaultdict(int)
        self._waiting: dict[Hashable, deque[UUID]] = defaultdict(deque)

    def enter(self, owner: Hashable, operation_id: UUID) -> bool:
        """Take a part of the owner's share; False if it is used up, and then this one waits."""
        with self._lock:
            if self._under_way[owner] < self._most:
                self._under_way[owner] += 1
                return True
            if operation_id not in self._waiting[owner]:
                self._waiting[owner].append(operation_id)
            return False

    def following(self, owner: Hashable) -> UUID | None:
        """Return what is to be done next with the part that the caller has, or None, and then it is given back."""
        with self._lock:
            if self._waiting[owner]:
                return self._waiting[owner].popleft()
            self._give_back(owner)
            return None

    def leave(self, owner: Hashable) -> None:
        """Give a part back, whatever waits; whoever of the owner ends next goes on with that."""
        with self._lock:
            self._give_back(owner)

    def _give_back(self, owner: Hashable) -> None:
        self._under_way[owner] -= 1
        if not self._under_way[owner]:
            # Nothing is kept of whom there may be thousands of.
            del self._under_way[owner]
            self._waiting.pop(owner, None)
