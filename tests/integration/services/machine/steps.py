"""What people, the external service, the workers and the clock may do, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.domain.cases import Operation
from app.domain.retry import Verdict
from app.errors import AppError, NotFound
from app.services.operations import CLAIM_MARGIN
from tests.integration.services.machine.agreement import Agreement
from tests.integration.services.machine.expected import SEEDED, Question, Source, Waits
from tests.integration.services.machine.house import LEASE, House, Neighbour, Written
from tests.integration.services.machine.messages import Message, Sent, messages, send, unusable

# Of the kinds that differ: seeded with credentials, seeded without, and one that can be deleted.
TYPES = ("confluence", "websearch", "jira")
# Most steps meet at one of them, for the ways of one are long.
OFTEN = ("websearch", "websearch", *TYPES)
# Where an example's first operations stand.
STAGES = ("succeeded", "started", "delivered", "expired", "undelivered", "pending")
NAMES = {
    "confluence": "Confluence", "servicenow": "ServiceNow", "sharepoint": "SharePoint",
    "websearch": "Web Search", "jira": "Jira",
}  # fmt: skip

types = st.sampled_from(OFTEN)
firsts = st.sampled_from([Verdict.DONE, None, Verdict.RETRY, Verdict.DONE, Verdict.FINAL])
fields = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.sampled_from([True, True, True, False]),
        "name": st.sampled_from("AB"),
        "config": st.sampled_from([{}, {"a": 1}]),
    },
)
pauses = st.sampled_from([timedelta(seconds=s) for s in (1, 1, 1, 40)] + [timedelta(minutes=m) for m in (9, 31, 180)])


def pick(things: list[Any], which: int) -> Any:
    """Return one of several, the newest for 0."""
    return things[-1 - which % len(things)]


def id_of(source: Source) -> str:
    """Return a connection's id, or one that there is not."""
    return source.id or str(uuid4())


class Machine(RuleBasedStateMachine):
    """One organization, all that may happen to it, and what is expected to come of that."""

    def __init__(self, house: House, neighbour: Neighbour) -> None:
        super().__init__()
        self.house, self.neighbour = house, neighbour
        attempts = {kind: house.settings.waits(kind) for kind in ("verify", "sync")}
        waits = Waits(**asdict(house.patience), attempts=attempts)
        self.sources = {name: Source(name, title, waits) for name, title in NAMES.items()}
        self.claimed: list[tuple[Source, Question, Operation]] = []
        self.sent: list[Sent] = []
        self.agreement, self.by = Agreement(house), "user"

    @initialize(sync=st.sampled_from(STAGES), verification=st.sampled_from(STAGES))
    def begin(self, sync: str, verification: str) -> None:
        """Stand in the middle of things; the rest is a matter of steps."""
        self.seed()
        for of in TYPES:
            self.configure_by_type(of, {"enabled": True})
        self.look()
        self.bring("confluence", "verify", verification, with_credentials=True)
        self.bring("websearch", "sync", sync, force=False)

    def bring(self, of: str, kind: str, stage: str, **how: bool) -> None:
        """Bring a first operation to a stage."""
        first = {"pending": None, "undelivered": Verdict.FINAL}.get(stage, Verdict.DONE)
        self.press(of, kind, first, **how)
        self.look()
        if stage == "expired":
            self.wait(timedelta(hours=1), swept=True)
        elif stage in ("started", "succeeded"):
            self.hear(self.send(Message(of, kind, stage, of="open", step=1)))
        self.look()

    def seed(self) -> None:
        missing = [self.sources[name] for name in SEEDED if not self.sources[name].exists]
        assert self.house.seed() == len(missing)
        for source in missing:
            source.appear()
        self.by = "user"

    @rule(act=st.sampled_from(["configure", "by type", "delete", "create", "seed", "spare"]), of=types, fields=fields)
    def arrange(self, act: str, of: str, fields: dict[str, Any]) -> None:
        source, jira = self.sources[of], self.sources["jira"]
        if act == "configure":
            if self.pressed(source.refusals(act), lambda: self.house.configure(id_of(source), fields)):
                source.configure(fields)
        elif act == "by type":
            self.configure_by_type(of, fields)
        elif act == "seed":
            self.seed()
        elif act == "create":
            if self.pressed(jira.refusals(act), lambda: self.house.create(jira.type, fields)):
                jira.appear()
                jira.configure(fields)
        else:
            doomed = jira if act == "delete" else self.sources["confluence"]
            if self.pressed(doomed.refusals("delete"), lambda: self.house.delete(id_of(doomed))):
                doomed.delete(now=self.house.now)

    def configure_by_type(self, of: str, fields: dict[str, Any]) -> None:
        self.pressed(set(), lambda: self.house.configure_type(of, fields))
        self.sources[of].appear()
        self.sources[of].configure(fields)

    @rule(of=types, with_credentials=st.sampled_from([True, True, False]), first=firsts)
    def verify(self, of: str, *, with_credentials: bool, first: Verdict | None) -> None:
        self.press(of, "verify", first, with_credentials=with_credentials)

    @rule(of=types, force=st.booleans(), first=firsts)
    def sync(self, of: str, *, force: bool, first: Verdict | None) -> None:
        self.press(of, "sync", first, force=force)

    def press(self, of: str, kind: str, first: Verdict | None, **how: bool) -> None:
        """Press, and make the first attempt at once, as it is on a quiet day."""
        source = self.sources[of]
        refusals = source.refusals(kind, **how)
        pressed = self.pressed(refusals, lambda: self.house.press(kind, id_of(source), **how))
        if pressed is not None:
            source.press(kind, operation_id=pressed, now=self.house.now)
            self.look()
            if first is not None:
                self.take(source, source.questions[-1])
                self.record(0, first)

    def pressed(self, refusals: set[str], act: Callable[[], Any]) -> Any:
        """Do what a person asks for; None if it is refused, which it is exactly for these reasons."""
        self.by = "user"
        if not refusals:
            return act() or True
        with pytest.raises(AppError) as refusal:
            act()
        assert refusal.value.code in refusals
        return None

    @rule(batch=st.lists(messages(OFTEN), min_size=1, max_size=3), spoiled_by=st.none() | st.integers(0, 6))
    def report(self, batch: list[Message], spoiled_by: int | None) -> None:
        bad = unusable(id_of(self.sources["confluence"]), str(self.house.id), foreign=self.neighbour.ids)
        self.hear(*[self.send(message) for message in batch], bad=[] if spoiled_by is None else [bad[spoiled_by]])

    @rule(of=types, which=st.none() | st.integers(0, 3), message=messages(OFTEN))
    def start(self, of: str, which: int | None, message: Message) -> None:
        """Report that a sync runs: one of ours, in whatever state, or one that the service began itself."""
        syncs = [question for question in self.sources[of].questions if question.kind == "sync"]
        answered = pick(syncs, which) if syncs and which is not None else None
        self.hear(self.send(replace(message, type=of, kind="sync", word="started", of="none"), answered=answered))

    @precondition(lambda self: self.asked())
    @rule(which=st.integers(0, 7), word=st.sampled_from(["succeeded", "failed"]), message=messages(OFTEN))
    def end(self, which: int, word: str, message: Message) -> None:
        """Report the end of an operation of ours, in whatever state."""
        source, answered = pick(self.asked(), which)
        self.hear(self.send(replace(message, type=source.type, kind=answered.kind, word=word), answered=answered))

    @rule(message=messages(OFTEN))
    def report_twice(self, message: Message) -> None:
        sent = self.send(message)
        is_told_apart = sent.can_be_told_from_others
        self.hear(sent)
        self.look()

        self.hear(sent)

        told = self.look()
        assert not is_told_apart or (told.audited, told.pushed) == ([], [])

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 20))
    def report_again(self, back: int) -> None:
        self.hear(self.sent[-min(back, len(self.sent))])

    def send(self, message: Message, *, answered: Question | None = None) -> Sent:
        tenant_id = str(self.house.id)
        self.sent.append(send(message, self.sources[message.type], tenant_id=tenant_id, answered=answered))
        return self.sent[-1]

    def hear(self, *batch: Sent, bad: Sequence[tuple[str, str]] = ()) -> None:
        """Apply messages; whatever cannot be applied is a dead letter."""
        self.by, dead = "external_service", [*bad]
        for sent in batch:
            source = sent.source
            if not source.is_visible or source.id != sent.connection_id:
                dead.append(("unknown_connection", sent.body))
            elif not source.hear(sent.said, now=self.house.now):
                dead.append(("unknown_operation", sent.body))

        letters = self.house.hear(*[sent.body for sent in batch], *[body for _, body in bad])

        assert Counter((letter.reason, letter.body.decode()) for letter in letters) == Counter(dead)

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
    @rule(which=st.integers(0, 3), verdict=st.sampled_from(list(Verdict)))
    def record(self, which: int, verdict: Verdict) -> None:
        source, question, claimed = pick(self.claimed, which)
        self.claimed.remove((source, question, claimed))
        error = None if verdict is Verdict.DONE else "The external service has an error (HTTP 503)"
        self.by = "system"
        if not source.is_visible:
            with pytest.raises(NotFound):
                self.house.record(claimed, verdict, error=error)
            return

        self.house.record(claimed, verdict, error=error)

        source.record(question, claimed.attempts, verdict, error=error, now=self.house.now)

    @precondition(lambda self: self.waiting())
    @rule(which=st.integers(0, 3), verdict=st.sampled_from(list(Verdict)))
    def attempt(self, which: int, verdict: Verdict) -> None:
        self.claim(which)
        self.look()
        if self.claimed:
            self.record(0, verdict)

    @rule(are_lost=st.booleans())
    def dispatch(self, *, are_lost: bool) -> None:
        now = self.house.now
        due = [q for _, q in self.asked() if q.is_due(now) and (q.queued is None or q.queued <= now)]

        jobs = self.house.dispatch(lose=are_lost)

        assert Counter(jobs) == Counter(question.id for question in due)
        for question in due:
            question.queued = None if are_lost else now + timedelta(seconds=10)

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

    def asked(self) -> list[tuple[Source, Question]]:
        return [(source, question) for source in self.sources.values() for question in source.questions]

    def waiting(self) -> list[tuple[Source, Question]]:
        return [(source, question) for source, question in self.asked() if question.state == "pending"]

    @invariant()
    def all_agrees(self) -> None:
        self.look()

    def look(self) -> Written:
        """Hold all that is written against what is expected; nothing of it touches the neighbour."""
        assert self.neighbour.house.fingerprint() == self.neighbour.untouched
        return self.agreement.holds(self.sources.values(), by=self.by)

    def teardown(self) -> None:
        self.house.forget()
