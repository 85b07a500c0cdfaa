"""A worker's threads, shared by its organizations: none may have them all, however many of its webhooks are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from threading import Lock
from uuid import UUID

# Of one owner, that a process remembers: more than an organization asks for in an hour. Who makes jobs up has others.
MOST_WAITING = 10_000


class Shares:
    """Who has how many deliveries under way in this process, and what waits for one of them to end.

    What waits costs no thread: whoever ends one goes on with the next of the same owner. It is forgotten with the
    process, and found again by the dispatcher, as any job that got lost.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._under_way: dict[Hashable, int] = defaultdict(int)
        # Each in the order of its coming.
        self._waiting: dict[Hashable, dict[UUID, None]] = defaultdict(dict)

    def enter(self, owner: Hashable, operation_id: UUID) -> bool:
        """Take a part of the owner's share; False if it is used up, and then this one waits."""
        with self._lock:
            if self._under_way[owner] < self._most:
                self._under_way[owner] += 1
                return True
            if len(self._waiting[owner]) < MOST_WAITING:
                self._waiting[owner][operation_id] = None
            return False

    def following(self, owner: Hashable) -> UUID | None:
        """Return what is to be done next with the part that the caller has, or None, and then it is given back."""
        with self._lock:
            if waiting := self._waiting[owner]:
                first = next(iter(waiting))
                del waiting[first]
                return first
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
