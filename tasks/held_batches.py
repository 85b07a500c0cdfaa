"""Batches that could not be applied: when each is tried again, and when everything goes back to the broker.

Pure: the clock's seconds are passed in. Nothing goes back as long as it can be held, since a quorum queue counts each
return, and RabbitMQ 4 deletes a message at its 21st. See decision 0004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.status_messages import MessageRefused
from tasks.inbox import Batch


@dataclass(eq=False, slots=True)
class BatchSubmission:
    """A batch that a child is given, and is given again until it is applied; a probe only asks whether it could be."""

    batch: Batch[Any] = field(default_factory=Batch)
    task_id: str = ""
    submitted_at: float = 0.0
    failure_count: int = 0
    first_failed_at: float = 0.0
    due_at: float = 0.0
    is_probe: bool = False
    # What its child cannot be given, by its place: for what reason it was refused before.
    refusals_by_position: dict[int, MessageRefused] = field(default_factory=dict)


class HeldBatches:
    """What is held. `retry_schedule` are the seconds after each failure, the last of them again and again.

    A batch of its own fault waits ever longer while the others go on. Where nothing succeeds (the database is away) all
    wait, for the next try would be in vain, too.
    """

    def __init__(self, retry_schedule: Sequence[float], *, max_hold_seconds: float) -> None:
        self._retry_schedule = retry_schedule
        self._max_hold_seconds = max_hold_seconds
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        self._held: list[BatchSubmission] = []
        self._failures_in_a_row = 0
        self._paused_until = 0.0

    def replace_with_probe(self) -> None:
        """Hold nothing any more, but ask whether anything can be applied."""
        self._held = [BatchSubmission(is_probe=True)]

    def hold_failed(self, submission: BatchSubmission, *, now: float) -> set[float]:
        """Hold a submission; return in how many seconds to look again, for others and for this one."""
        if not submission.failure_count:
            submission.first_failed_at = now
        wait = self._retry_delay(submission.failure_count)
        submission.due_at = now + wait
        submission.failure_count += 1
        self._held.append(submission)
        # What was under way with it fails for the same reason, and is no further try.
        if not self.is_paused(now=now):
            self._paused_until = now + self._retry_delay(self._failures_in_a_row)
            self._failures_in_a_row += 1
        return {wait, self._paused_until - now}

    def record_success(self) -> None:
        """Take note that something could be applied."""
        self._failures_in_a_row = 0
        self._paused_until = 0.0

    def is_paused(self, *, now: float) -> bool:
        """Tell whether nothing should be tried yet."""
        return now < self._paused_until

    def take_due_submission(self, *, now: float) -> BatchSubmission | None:
        """Take what is to be tried again, the longest held first."""
        for position, submission in enumerate(self._held):
            if submission.due_at <= now:
                return self._held.pop(position)
        return None

    def is_held_too_long(self, *, now: float) -> bool:
        """Tell whether something has been held for so long that it has to go back."""
        return any(now - held.first_failed_at >= self._max_hold_seconds for held in self._held if not held.is_probe)

    def _retry_delay(self, failure_count: int) -> float:
        return self._retry_schedule[min(failure_count, len(self._retry_schedule) - 1)]
