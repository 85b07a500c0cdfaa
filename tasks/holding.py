"""Batches that could not be applied: when each is tried again, and when everything goes back to the broker.

Pure: the clock's seconds are passed in. Nothing goes back as long as it can be held, since a quorum queue counts each
return, and RabbitMQ 4 deletes a message at its 21st. See decision 0004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.inbox import Batch


@dataclass(eq=False, slots=True)
class Submission:
    """A batch that a child is given, and is given again until it is applied; a probe only asks whether it could be."""

    batch: Batch[Any] = field(default_factory=Batch)
    task_id: str = ""
    handed_over: float = 0.0
    failures: int = 0
    failed_at_first: float = 0.0
    due: float = 0.0
    is_probe: bool = False


class Holding:
    """What is held. `waits` are the seconds after each failure, the last of them again and again.

    A batch of its own fault waits ever longer while the others go on. Where nothing succeeds (the database is away) all
    wait, for the next try would be in vain, too.
    """

    def __init__(self, *, waits: Sequence[float], at_most: float) -> None:
        self._waits = waits
        self._at_most = at_most
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        self._held: list[Submission] = []
        self._in_a_row = 0
        self._paused_until = 0.0

    def probe(self) -> None:
        """Hold nothing any more, but ask whether anything can be applied."""
        self._held = [Submission(is_probe=True)]

    def failed(self, submission: Submission, *, now: float) -> set[float]:
        """Hold a submission; return in how many seconds to look again, for others and for this one."""
        if not submission.failures:
            submission.failed_at_first = now
        wait = self._wait(submission.failures)
        submission.due = now + wait
        submission.failures += 1
        self._held.append(submission)
        # What was under way with it fails for the same reason, and is no further try.
        if not self.is_paused(now=now):
            self._paused_until = now + self._wait(self._in_a_row)
            self._in_a_row += 1
        return {wait, self._paused_until - now}

    def succeeded(self) -> None:
        """Take note that something could be applied."""
        self._in_a_row = 0
        self._paused_until = 0.0

    def is_paused(self, *, now: float) -> bool:
        """Tell whether nothing should be tried yet."""
        return now < self._paused_until

    def take_due(self, *, now: float) -> Submission | None:
        """Take what is to be tried again, the longest held first."""
        for position, submission in enumerate(self._held):
            if submission.due <= now:
                return self._held.pop(position)
        return None

    def is_too_long(self, *, now: float) -> bool:
        """Tell whether something has been held for so long that it has to go back."""
        return any(now - held.failed_at_first >= self._at_most for held in self._held if not held.is_probe)

    def _wait(self, failures: int) -> float:
        return self._waits[min(failures, len(self._waits) - 1)]
