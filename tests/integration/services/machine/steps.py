"""What people, the external service, the workers and the clock may do, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from app.domain.retry import RetryVerdict
from tests.integration.services.machine.deliveries import Deliveries
from tests.integration.services.machine.expected import SEEDED
from tests.integration.services.machine.ground import id_of, pick
from tests.integration.services.machine.messages import Message, messages, unusable

# Of the kinds that differ: seeded with credentials, seeded without, and one that can be deleted.
TYPES = ("confluence", "websearch", "jira")
# Most steps meet at one of them, for the ways of one are long.
OFTEN = ("websearch", "websearch", *TYPES)
# Where an example's first operations stand.
STAGES = ("succeeded", "started", "delivered", "expired", "undelivered", "pending", "claimed")
types = st.sampled_from(OFTEN)
firsts = st.sampled_from([RetryVerdict.DONE, None, RetryVerdict.RETRY, RetryVerdict.DONE, RetryVerdict.FINAL])
fields = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.sampled_from([True, True, True, False]),
        "name": st.sampled_from("AB"),
        "config": st.sampled_from([{}, {"a": 1}]),
    },
)


class Machine(Deliveries):
    """One organization, all that may happen to it, and what is expected to come of that."""

    @initialize(sync=st.sampled_from(STAGES), verification=st.sampled_from(STAGES), disabled=st.booleans())
    def begin(self, sync: str, verification: str, *, disabled: bool) -> None:
        """Stand in the middle of things; the rest is a matter of steps."""
        self.seed()
        for of in TYPES:
            self.configure_by_type(of, {"enabled": True})
        self.look()
        self.bring("confluence", "verify", verification, has_credentials=True)
        self.bring("websearch", "sync", sync, replace_running=False)
        self.configure_by_type("websearch", {"enabled": not disabled})

    def bring(self, of: str, kind: str, stage: str, **how: bool) -> None:
        """Bring a first operation to a stage."""
        first = {"pending": None, "claimed": None, "undelivered": RetryVerdict.FINAL}.get(stage, RetryVerdict.DONE)
        self.press(of, kind, first, **how)
        self.look()
        if stage == "expired":
            self.wait(timedelta(hours=1), swept=True)
        elif stage == "claimed":
            self.claim(0)
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
                self.set(source, fields)
        elif act == "by type":
            self.configure_by_type(of, fields)
        elif act == "seed":
            self.seed()
        elif act == "create":
            if self.pressed(jira.refusals(act), lambda: self.house.create(jira.type, fields)):
                jira.appear()
                self.set(jira, fields)
        else:
            doomed = jira if act == "delete" else self.sources["confluence"]
            if self.pressed(doomed.refusals("delete"), lambda: self.house.delete(id_of(doomed))):
                doomed.delete(now=self.house.now)

    def configure_by_type(self, of: str, fields: dict[str, Any]) -> None:
        self.pressed(set(), lambda: self.house.configure_type(of, fields))
        self.sources[of].appear()
        self.set(self.sources[of], fields)

    def set(self, source: Any, fields: dict[str, Any]) -> None:
        source.configure(fields, by=str(self.house.actor.email), now=self.house.now)

    @rule(of=types, with_credentials=st.sampled_from([True, True, False]), first=firsts)
    def verify(self, of: str, *, with_credentials: bool, first: RetryVerdict | None) -> None:
        self.press(of, "verify", first, has_credentials=with_credentials)

    @rule(of=types, force=st.booleans(), first=firsts)
    def sync(self, of: str, *, force: bool, first: RetryVerdict | None) -> None:
        self.press(of, "sync", first, replace_running=force)

    def press(self, of: str, kind: str, first: RetryVerdict | None, **how: bool) -> None:
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

    @rule(batch=st.lists(messages(OFTEN), min_size=1, max_size=3), spoiled_by=st.none() | st.integers(0, 6))
    def report(self, batch: list[Message], spoiled_by: int | None) -> None:
        bad = unusable(id_of(self.sources["confluence"]), str(self.house.id), foreign=self.neighbour.ids)
        # One of them may be dated: what the others say of it then is late, which has its own test.
        old = [replace(message, is_old=True, step=None) for message in batch[1:]]
        self.hear(
            *[self.send(message) for message in [*batch[:1], *old]], bad=[] if spoiled_by is None else [bad[spoiled_by]]
        )

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

    @rule(message=messages(OFTEN), pause=st.sampled_from([timedelta(minutes=m) for m in (0, 9, 11)]))
    def report_twice(self, message: Message, pause: timedelta) -> None:
        sent = self.send(message)
        is_known = sent.is_known_again(after=pause)
        self.hear(sent)
        first = self.look()
        # An undated one may have been a copy itself, of one that was sent long before.
        is_known &= sent.is_told_apart or bool(first.audited or first.pushed)
        self.wait(pause, swept=False)

        self.hear(sent)

        told = self.look()
        assert not is_known or (told.audited, told.pushed) == ([], [])

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 20))
    def report_again(self, back: int) -> None:
        self.hear(self.sent[-min(back, len(self.sent))])

    @precondition(lambda self: self.asked())
    @rule(which=st.integers(0, 7))
    def give_up(self, which: int) -> None:
        """End an operation by hand, as an admin may."""
        source, question = pick(self.asked(), which)
        refusals = {"operation_ended"} if not question.is_open else set()
        if self.pressed(refusals if source.is_visible else {"not_found"}, lambda: self.house.end(str(question.id))):
            source.give_up(question, by=str(self.house.actor.email), now=self.house.now)
