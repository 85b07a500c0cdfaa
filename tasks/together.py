"""Do for several at once what several threads ask for at the same time, as a database does with its commits.

Who comes first goes alone; who comes while that is under way waits, and all who wait go next, in one call. So nobody
waits for others that do not come, and the more there is to do, the less each costs. Where it is known that others
are on their way, who goes first may wait for it. See docs/decisions/0017.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class Together(Generic[Asked, Given]):
    """`act` takes what was asked for, in the order in which it came, and gives as many results in the same order.

    `linger` tells, in seconds, how long to wait for others before each call of it.
    """

    def __init__(
        self, act: Callable[[Sequence[Asked]], Sequence[Given]], *, linger: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._act, self._linger = act, linger
        self._lock = Lock()
        self._busy = False
        # Each with a box: for the outcome, or before that for None, which says that it is this one's turn to lead.
        self._waiting: list[tuple[Asked, SimpleQueue[Future[Given] | None]]] = []

    def __call__(self, asked: Asked) -> Given:
        """Return what `act` gives for this one, or raise what it raises: for several, what it raises for each alone."""
        box: SimpleQueue[Future[Given] | None] = SimpleQueue()
        with self._lock:
            self._waiting.append((asked, box))
            leads, self._busy = not self._busy, True
        while leads or (outcome := box.get()) is None:
            self._lead()
            leads = False
        return outcome.result()

    @property
    def waiting(self) -> int:
        """How many wait for what is under way."""
        return len(self._waiting)

    def _lead(self) -> None:
        """Act for all who wait, and wake one of those who have come meanwhile to act for them."""
        if pause := self._linger():
            time.sleep(pause)
        with self._lock:
            taken, self._waiting = self._waiting, []
        for (_, box), outcome in zip(taken, self._outcomes([asked for asked, _ in taken]), strict=True):
            box.put(outcome)
        with self._lock:
            if self._waiting:
                self._waiting[0][1].put(None)
            else:
                self._busy = False

    def _outcomes(self, asked: Sequence[Asked]) -> list[Future[Given]]:
        outcomes: list[Future[Given]] = [Future() for _ in asked]
        try:
            for outcome, given in zip(outcomes, self._act(asked), strict=True):
                outcome.set_result(given)
        except BaseException as problem:  # noqa: BLE001 - whoever asked gets it
            if len(asked) > 1:
                # One of them may be at fault; the others must not fail for it.
                return [self._outcomes([one])[0] for one in asked]
            outcomes = [Future()]
            outcomes[0].set_exception(problem)
        return outcomes
