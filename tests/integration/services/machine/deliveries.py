"""What workers, the dispatcher, the sweep and the clock do with what was asked."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.domain.retry import RetryVerdict
from app.errors import NotFound
from app.services.deliveries import CLAIM_MARGIN
from tests.integration.services.machine.expected import Source
from tests.integration.services.machine.ground import Ground, pick
from tests.integration.services.machine.house import LEASE
from tests.integration.services.machine.messages import Message
from tests.integration.services.machine.questions import Question

pauses = st.sampled_from([timedelta(seconds=s) for s in (1, 1, 20, 20)] + [timedelta(minutes=m) for m in (2, 31, 180)])
verdicts = st.sampled_from(list(RetryVerdict))


class Deliveries(Ground):
    """Attempts, with whatever may come while one is under way, and deadlines."""

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 3))
    def claim(self, which: int) -> None:
        self.take(*pick(self.waiting(), which))

    def take(self, source: Source, question: Question) -> None:
        now = self.house.now
        is_free = question.is_due(now) and question.deadline is not None and question.deadline > now

        claimed = self.house.claim(str(question.id))

        assert (claimed is not None) == is_free
        if claimed is not None:
            question.attempts, question.held = question.attempts + 1, now + LEASE + CLAIM_MARGIN
            self.claimed.append((source, question, claimed))

    @precondition(lambda self: self.claimed)
    @rule(which=st.integers(0, 3), verdict=verdicts)
    def record(self, which: int, verdict: RetryVerdict) -> None:
        source, question, claimed = pick(self.claimed, which)
        self.claimed.remove((source, question, claimed))
        error = None if verdict is RetryVerdict.DONE else "The external service has an error (HTTP 503)"
        self.by = "system"
        if not source.is_visible:
            with pytest.raises(NotFound):
                self.house.record(claimed, verdict, error=error)
            return

        self.house.record(claimed, verdict, error=error)

        source.record(question, claimed.attempts, verdict, error=error, now=self.house.now)

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 3), verdict=verdicts)
    def attempt(self, which: int, verdict: RetryVerdict) -> None:
        self.claim(which)
        self.look()
        if self.claimed:
            self.record(0, verdict)

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 3), word=st.sampled_from(["started", "succeeded", "failed"]), verdict=verdicts)
    def overtake(self, which: int, word: str, verdict: RetryVerdict) -> None:
        """Let a word on an operation come while its POST is under way: it tells more than the POST's answer."""
        source, question = pick(self.waiting(), which)
        self.take(source, question)
        self.look()
        self.hear(self.send(Message(source.type, question.kind, word), answered=question))
        self.look()
        if self.claimed:
            self.record(0, verdict)

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 3), verdict=verdicts)
    def outlast(self, which: int, verdict: RetryVerdict) -> None:
        """Let a verification's deadline pass while its POST is under way: it may just be arriving."""
        self.claim(which)
        self.look()
        self.wait(timedelta(minutes=2), swept=True)
        self.look()
        if self.claimed:
            self.record(0, verdict)

    @rule(are_lost=st.lists(st.booleans(), min_size=1, max_size=2))
    def dispatch(self, are_lost: list[bool]) -> None:
        """Send what is due, once or twice at once; its jobs may get lost on the way."""
        now = self.house.now
        for are_lost_now in are_lost:
            due = [q for _, q in self.asked() if q.is_due(now) and (q.queued is None or q.queued <= now)]

            jobs = self.house.dispatch(lose=are_lost_now)

            assert Counter(jobs) == Counter(question.id for question in due)
            for question in due:
                question.queued = None if are_lost_now else now + timedelta(seconds=10)

    @rule(pause=pauses, swept=st.booleans())
    def wait(self, pause: timedelta, *, swept: bool) -> None:
        self.house.now += pause
        if not swept:
            return
        lost = {q.id: (source, q) for source, q in self.asked() if q.is_lost(self.house.now)}

        ended = [change.operation for change in self.house.sweep() if change.operation]

        assert {str(operation.id) for operation in ended} == set(lost)
        for operation in ended:
            source, question = lost[str(operation.id)]
            assert operation.error
            assert operation.error.endswith(f"; {question.kind} again")
            source.expire(question, error=operation.error, now=self.house.now)
        self.by = "system"
