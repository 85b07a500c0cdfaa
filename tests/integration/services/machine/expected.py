"""What is to be expected of one connection: CONTRACT's sections 3 to 5 and docs/decisions/0007 in the simplest words.

Written again on purpose, without a line of `app/domain`: the state machine holds the database against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tests.integration.services.machine.questions import (
    ANSWERED,
    COPIED_WITHIN,
    UNANSWERED,
    Question,
    Said,
    is_news_with_id,
    repeats_start,
)

NEEDS_CREDENTIALS = {"confluence", "servicenow", "sharepoint", "jira"}
SEEDED = {"confluence", "servicenow", "sharepoint", "websearch"}
# Steps on the way: pushed, but not audited.
UNAUDITED = (".delivered", ".delayed", ".progress")
RANKS = {"started": 0, "succeeded": 1, "failed": 1}


@dataclass(frozen=True)
class Waits:
    """The numbers of the settings under test."""

    verification: timedelta
    sync_delivery: timedelta
    sync_start: timedelta
    sync_silence: timedelta
    attempts: dict[str, tuple[timedelta, ...]]


class Change(NamedTuple):
    """What is to be told of: audited, unless it is a step on the way, and as a rule pushed."""

    action: str
    question: Question | None = None
    is_pushed: bool = True


@dataclass
class Source:
    """One connection: what its row must say, its operations in the order of asking, and the changes to be told of."""

    type: str
    name: str
    waits: Waits
    # Given by the database, and known as soon as it is seen.
    id: str | None = None
    exists: bool = False
    enabled: bool = False
    deleted: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    last_sync_status: str | None = None
    last_sync_error: str | None = None
    last_sync_at: datetime | None = None
    last_verification_error: str | None = None
    last_verification_at: datetime | None = None
    latest_options: dict[str, str] | None = None
    verified: bool = False
    # The newest sync message applied, by the service's own clock.
    clock: tuple[datetime, int] | None = None
    questions: list[Question] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def open(self, kind: str) -> Question | None:
        return next((q for q in self.questions if q.kind == kind and q.is_open), None)

    def newest(self, kind: str) -> Question | None:
        return next((q for q in reversed(self.questions) if q.kind == kind), None)

    @property
    def status(self) -> str:
        if self.open("sync"):
            return "syncing"
        return "verifying" if self.open("verify") else "idle"

    def refusals(self, act: str, *, replace_running: bool = False, has_credentials: bool = True) -> set[str]:
        """Return the codes of the errors with which an act may be refused; any of them will do."""
        if act == "create":
            return {"already_exists"} if self.is_visible else set()
        if not self.is_visible:
            return {"not_found"}
        asks, needs_credentials = act in ("verify", "sync"), self.type in NEEDS_CREDENTIALS
        codes = {
            "cannot_delete_seeded": act == "delete" and self.type in SEEDED,
            "validation_error": act == "verify" and needs_credentials and not has_credentials,
            "connection_disabled": act == "sync" and not self.enabled,
            "not_configured": act == "sync" and needs_credentials and not self.verified,
            "sync_in_progress": asks and not replace_running and self.open("sync") is not None,
            "verification_in_progress": asks and not replace_running and self.open("verify") is not None,
        }
        return {code for code, holds in codes.items() if holds}

    @property
    def is_visible(self) -> bool:
        return self.exists and not self.deleted

    def appear(self) -> None:
        """Be there: created, or restored as it was."""
        if not self.is_visible:
            self.changes.append(Change("connection.restored" if self.exists else "connection.created"))
            self.exists, self.deleted = True, False

    def configure(self, fields: dict[str, Any], *, by: str, now: datetime) -> None:
        """Set fields; whoever disables ends a sync that the service has not been told of."""
        if all(getattr(self, name) == value for name, value in fields.items()):
            return
        vars(self).update(fields)
        self.changes.append(Change("connection.configured"))
        for question in [] if self.enabled else self.questions:
            if question.kind == "sync" and question.state == "pending":
                error = f"Ended when {by} disabled the data source"
                self._leave_unanswered(question, "expired", error, now=now, change="ended")

    def delete(self, *, now: datetime) -> None:
        self.abandon(now=now)
        self.deleted, self.enabled = True, False
        self.changes.append(Change("connection.deleted"))

    def press(self, kind: str, *, operation_id: str, now: datetime) -> None:
        self.abandon(now=now)
        patience = self.waits.verification if kind == "verify" else self.waits.sync_delivery
        asked = Question(kind, operation_id, deadline=now + patience, due=now, queued=now + timedelta(seconds=3))
        self.questions.append(asked)
        if kind == "sync":
            self.last_sync_at = now
        self.changes.append(Change(f"{kind}.requested", asked))

    def abandon(self, *, now: datetime) -> None:
        for question in self.questions:
            if question.is_open:
                question.end("replaced", "Replaced by a newer request", now=now)

    def record(self, question: Question, attempt: int, verdict: str, *, error: str | None, now: datetime) -> None:
        """Take note of how an attempt to deliver ended."""
        question.queued = question.held = None
        waits = self.waits.attempts[question.kind]
        if verdict == "done":
            question.due = None
            if question.state != "pending":
                return
            question.state = "delivered"
            question.deadline = now + self.waits.sync_start if question.kind == "sync" else question.deadline
            self.changes.append(Change(f"{question.kind}.delivered", question))
        elif question.state != "pending":
            return
        elif verdict == "retry" and attempt <= len(waits):
            question.due, question.luck = now + waits[attempt - 1], waits[attempt - 1] / 10
            self.changes.append(Change(f"{question.kind}.delayed", question))
        else:
            tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
            self._leave_unanswered(question, "undelivered", f"{error}; given up after {tries}", now=now)

    def expire(self, question: Question, *, error: str, now: datetime) -> None:
        self._leave_unanswered(question, "expired", error, now=now)

    def give_up(self, question: Question, *, by: str, now: datetime) -> None:
        """End an operation for a person; an answer that still comes is the truth."""
        self._leave_unanswered(question, "expired", f"Ended by {by} without an answer", now=now, change="ended")

    def _leave_unanswered(
        self, question: Question, state: str, error: str, *, now: datetime, change: str | None = None
    ) -> None:
        question.end(state, error, now=now)
        if question.kind == "sync":
            self.last_sync_status, self.last_sync_error, self.last_sync_at = "failed", error, now
        else:
            self.last_verification_error = error
        self.changes.append(Change(f"{question.kind}.{change or state}", question))

    def hear(self, said: Said, *, now: datetime) -> bool:
        """Take in a status message; False if it names an operation that there is not."""
        if said.operation_id is not None:
            named = [q for q in self.questions if (q.id, q.kind) == (said.operation_id, said.kind)]
            if not named:
                return False
            question, is_news = named[0], is_news_with_id(named[0], said, now=now)
        else:
            question, is_news = self._match(said, now=now)
        if is_news:
            self._take(question, said, now=now)
        elif question is not None and said.operation_id is not None and said.moment is None:
            self._tell_start(question, said, now=now)
        return True

    def _tell_start(self, question: Question, said: Said, *, now: datetime) -> None:
        """Take in that what has ended had begun."""
        if said.word == "started" and question.started is None and question.state in UNANSWERED | ANSWERED:
            question.started = now
            if question.documents is None:
                question.documents = said.documents
            # On the page it has ended.
            self.changes.append(Change(f"{said.kind}.started", question, is_pushed=False))

    def _match(self, said: Said, *, now: datetime) -> tuple[Question | None, bool]:
        """Find what a message without an id speaks of, if that is ours, and tell whether it says anything new."""
        asked = self.open(said.kind)
        if asked is None and said.word != "started":
            asked = self.newest(said.kind)
            asked = asked if asked and asked.state in UNANSWERED else None
        if asked is not None and not asked.was_sent:
            if said.word == "started":
                return None, False
            asked = None
        if said.moment is not None:
            return asked, self.clock is None or (said.moment, RANKS[said.word]) > self.clock
        if asked is not None:
            return asked, not repeats_start(asked, said, now=now)
        return None, not self._is_copy(said, now=now)

    def _is_copy(self, said: Said, *, now: datetime) -> bool:
        last = next((q for q in reversed(self.questions) if q.kind == said.kind and not q.is_open), None)
        if last is None or last.finished is None or last.finished <= now - COPIED_WITHIN:
            return False
        same = (last.state, last.error) == (said.word, said.error)
        if said.kind == "verify":
            return same and (said.word == "failed" or self.latest_options == said.options)
        return same and said.documents in (None, last.documents)

    def _take(self, question: Question | None, said: Said, *, now: datetime) -> None:
        if question is None:
            question, waiting = Question(said.kind, origin="service", state="delivered"), self.open(said.kind)
            # Before what was asked for and not sent yet: that is the newest.
            self.questions.insert(self.questions.index(waiting) if waiting else len(self.questions), question)
        change = "progress" if (question.state, said.word) == ("running", "started") else said.word
        counts = question.is_open or question is self.newest(said.kind)
        question.late = not question.is_open
        if said.documents is not None:
            question.documents = said.documents
        if said.moment is not None:
            mark = (said.moment, RANKS[said.word])
            question.clock, self.clock = max(question.clock or mark[0], mark[0]), max(self.clock or mark, mark)
        if said.word == "started":
            question.state, question.error = "running", None
            question.started, question.heard = question.started or now, now
            question.deadline = now + self.waits.sync_silence
        else:
            question.end(said.word, said.error, now=now)
            if counts:
                self._answer(said, now=now)
        self.changes.append(Change(f"{said.kind}.{change}", question))

    def _answer(self, said: Said, *, now: datetime) -> None:
        """The table of CONTRACT's section 5."""
        if said.kind == "sync":
            self.last_sync_status = "completed" if said.word == "succeeded" else "failed"
            self.last_sync_error, self.last_sync_at = said.error, now
            return
        self.last_verification_error, self.last_verification_at = said.error, now
        if said.word == "succeeded":
            self.latest_options, self.verified = said.options, True
