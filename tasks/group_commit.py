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

Request = TypeVar("Request")
Result = TypeVar("Result")


class GroupCommit(Generic[Request, Result]):
    """`run_all` takes what was asked for, in the order in which it came, and gives as many results in the same order.

    `batching_delay` tells, in seconds, how long to wait for others before each call of it.
    """

    def __init__(
        self,
        run_all: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        batching_delay: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._run_all, self._batching_delay = run_all, batching_delay
        self._lock = Lock()
        self._is_running = False
        # Each with a box: for the outcome, or before that for None, which says that it is this one's turn to lead.
        self.waiting: list[tuple[Request, SimpleQueue[Future[Result] | None]]] = []

    def __call__(self, request: Request) -> Result:
        """Return what `run_all` gives for this one, or raise what it raises for this one alone."""
        result_queue: SimpleQueue[Future[Result] | None] = SimpleQueue()
        with self._lock:
            self.waiting.append((request, result_queue))
            is_leader, self._is_running = not self._is_running, True
        while is_leader or (outcome := result_queue.get()) is None:
            self._run_waiting_batch()
            is_leader = False
        return outcome.result()

    def _run_waiting_batch(self) -> None:
        """Act for all who wait, and wake one of those who have come meanwhile to act for them."""
        if delay := self._batching_delay():
            time.sleep(delay)
        with self._lock:
            batch, self.waiting = self.waiting, []
        outcomes = self._futures_for_batch([asked for asked, _ in batch])
        for (_, result_queue), outcome in zip(batch, outcomes, strict=True):
            result_queue.put(outcome)
        with self._lock:
            if self.waiting:
                self.waiting[0][1].put(None)
            else:
                self._is_running = False

    def _futures_for_batch(self, requests: Sequence[Request]) -> list[Future[Result]]:
        outcomes: list[Future[Result]] = [Future() for _ in requests]
        try:
            for outcome, result in zip(outcomes, self._run_all(requests), strict=True):
                outcome.set_result(result)
        except BaseException as problem:  # noqa: BLE001 - whoever asked gets it
            if len(requests) > 1:
                # One of them may be at fault; the others must not fail for it.
                return [self._futures_for_batch([one])[0] for one in requests]
            outcomes = [Future()]
            outcomes[0].set_exception(problem)
        return outcomes
