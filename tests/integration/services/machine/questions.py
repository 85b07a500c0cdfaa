"""One operation as CONTRACT and docs/decisions/0007 have it, and what a status message says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

OPEN = {"pending", "delivered", "running"}
# We stopped waiting; the answer, if it still comes, is the truth.
UNANSWERED = {"expired", "undelivered"}
ANSWERED = {"succeeded", "failed"}
# An undated message that repeats another one word for word within this time is a copy of it.
COPIED_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class Said:
    """What a status message says, whatever its dialect."""

    kind: str
    word: str
    operation_id: str | None = None
    moment: datetime | None = None
    documents: int | None = None
    error: str | None = None
    options: dict[str, str] | None = None


@dataclass(eq=False)
class Question:
    """One operation."""

    kind: str
    id: str | None = None
    origin: str = "user"
    state: str = "pending"
    deadline: datetime | None = None
    attempts: int = 0
    # When the next attempt is due, and by how much luck may delay it.
    due: datetime | None = None
    luck: timedelta = timedelta(0)
    queued: datetime | None = None
    held: datetime | None = None
    # The last start or progress, by our clock and by the service's.
    heard: datetime | None = None
    clock: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    documents: int | None = None
    error: str | None = None
    late: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def was_sent(self) -> bool:
        return self.attempts > 0 or self.origin == "service"

    def is_due(self, now: datetime) -> bool:
        """Tell whether an attempt may be made; `held` is one that is being made."""
        is_held = self.held is not None and self.held >= now
        return self.state == "pending" and self.due is not None and self.due <= now and not is_held

    def is_lost(self, now: datetime) -> bool:
        is_held = self.held is not None and self.held > now
        return self.deadline is not None and self.deadline <= now and not is_held

    def end(self, state: str, error: str | None, *, now: datetime) -> None:
        self.state, self.error, self.finished = state, error, now
        self.deadline = self.due = self.queued = self.held = None


def is_news_with_id(question: Question, said: Said, *, now: datetime) -> bool:
    if question.state in UNANSWERED:
        return said.word != "started"
    return question.is_open and not repeats_start(question, said, now=now)


def repeats_start(question: Question, said: Said, *, now: datetime) -> bool:
    """Tell whether a start only says again that a sync runs; with a later time, or another count, it is progress."""
    if (question.state, said.word) != ("running", "started"):
        return False
    if said.moment is None:
        is_recent = question.heard is not None and question.heard > now - COPIED_WITHIN
        return is_recent and said.documents in (None, question.documents)
    return question.clock is not None and said.moment <= question.clock
