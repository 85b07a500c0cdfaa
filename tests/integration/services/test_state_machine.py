"""Whatever people, the external service, the workers and the clock do, in whatever order: what must always hold.

The suite walks the same few thousand steps each time. `STATE_MACHINE_EXAMPLES=2000` walks others, at random.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg2.extensions import connection as Postgres  # noqa: N812 - it is a class

from app.domain.cases import Operation
from app.domain.lifecycle import Patience
from app.domain.retry import Verdict
from app.errors import AppError, NotFound
from app.services.operations import CLAIM_MARGIN
from tests.integration.services.machine.agreement import Agreement
from tests.integration.services.machine.expected import SEEDED, Question, Source, Waits
from tests.integration.services.machine.house import LEASE, House, Written
from tests.integration.services.machine.messages import Message, Sent, messages, send, unusable

LONGER = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))
# Of the kinds that differ: seeded with credentials, seeded without, and one that can be deleted.
TYPES = ("confluence", "websearch", "jira")
NAMES = {
    "confluence": "Confluence",
    "servicenow": "ServiceNow",
    "sharepoint": "SharePoint",
    "websearch": "Web Search",
    "jira": "Jira",
}

import hypothesis

PHASES = {"phases": [hypothesis.Phase.generate]} if os.environ.get("NOSHRINK") else {}
types, kinds = st.sampled_from(TYPES), st.sampled_from(["verify", "sync"])
fields = st.fixed_dictionaries(
    {}, optional={"enabled": st.booleans(), "name": st.sampled_from("AB"), "config": st.sampled_from([{}, {"a": 1}])}
)
pauses = st.sampled_from([timedelta(seconds=s) for s in (1, 40)] + [timedelta(minutes=m) for m in (9, 31, 180)])


@dataclass
class Neighbour:
    """Another organization, and what is written of it."""

    house: House
    untouched: Written
    ids: dict[str, str]


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

    @initialize()
    def seed_first(self) -> None:
        self.seed()

    @rule()
    def seed(self) -> None:
        missing = [source for source in self.sources.values() if source.type in SEEDED and not source.exists]

        created = self.house.seed()

        assert created == len(missing)
        for source in missing:
            source.appear()
        self.by = "user"

    @rule(of=types, fields=fields)
    def configure(self, of: str, fields: dict[str, Any]) -> None:
        source = self.sources[of]
        refusals = set() if source.is_visible else {"not_found"}
        if self.pressed(refusals, lambda: self.house.configure(source.id or str(uuid4()), fields)):
            source.configure(fields)

    @rule(of=types, fields=fields)
    def configure_by_type(self, of: str, fields: dict[str, Any]) -> None:
        self.pressed(set(), lambda: self.house.configure_type(of, fields))
        self.sources[of].appear()
        self.sources[of].configure(fields)

    @rule(fields=fields)
    def create(self, fields: dict[str, Any]) -> None:
        source = self.sources["jira"]
        refusals = {"already_exists"} if source.is_visible else set()
        if self.pressed(refusals, lambda: self.house.create("jira", fields)):
            source.appear()
            source.configure(fields)

    @rule(of=types)
    def delete(self, of: str) -> None:
        source = self.sources[of]
        if self.pressed(source.refusals("delete"), lambda: self.house.delete(source.id or str(uuid4()))):
            source.delete(now=self.house.now)

    @rule(of=types, with_credentials=st.sampled_from([True, True, False]))
    def verify(self, of: str, *, with_credentials: bool) -> None:
        self.press(of, "verify", with_credentials=with_credentials)

    @rule(of=types, force=st.booleans())
    def sync(self, of: str, *, force: bool) -> None:
        self.press(of, "sync", force=force)

    def press(self, of: str, kind: str, **how: bool) -> None:
        source = self.sources[of]
        refusals = source.refusals(kind, **how)
        if pressed := self.pressed(refusals, lambda: self.house.press(kind, source.id or str(uuid4()), **how)):
            source.press(kind, operation_id=pressed, now=self.house.now)

    def pressed(self, refusals: set[str], act: Callable[[], Any]) -> Any:
        """Do what a person asks for; None if it is refused, which it is exactly for these reasons."""
        self.by = "user"
        if not refusals:
            return act() or True
        with pytest.raises(AppError) as refusal:
            act()
        assert refusal.value.code in refusals
        return None

    @rule(batch=st.lists(messages(TYPES), min_size=1, max_size=3))
    def report(self, batch: list[Message]) -> None:
        self.hear(*[self.send(message) for message in batch])

    @rule(message=messages(TYPES))
    def report_twice(self, message: Message) -> None:
        sent = self.send(message)
        self.hear(sent)
        self.look()

        self.hear(sent)

        told = self.look()
        assert (told.audited, told.pushed) == ([], [])

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 20))
    def report_again(self, back: int) -> None:
        self.hear(self.sent[-min(back, len(self.sent))])

    @rule(which=st.integers(0, 6))
    def report_what_cannot_be_applied(self, which: int) -> None:
        connection_id, tenant_id = str(self.sources["confluence"].id), str(self.house.id)
        reason, body = unusable(connection_id, tenant_id, foreign=self.neighbour.ids)[which]

        letters = self.house.hear(body)

        assert [(letter.reason, letter.body.decode()) for letter in letters] == [(reason, body)]

    def send(self, message: Message) -> Sent:
        self.sent.append(send(message, self.sources[message.type], tenant_id=str(self.house.id)))
        return self.sent[-1]

    def hear(self, *batch: Sent) -> None:
        """Apply messages; those that cannot be applied are dead letters, in order."""
        self.by, dead = "external_service", []
        for sent in batch:
            source = sent.source
            if not source.is_visible or source.id != sent.connection_id:
                dead.append(("unknown_connection", sent.body))
            elif not source.hear(sent.said, now=self.house.now):
                dead.append(("unknown_operation", sent.body))

        letters = self.house.hear(*[sent.body for sent in batch])

        assert [(letter.reason, letter.body.decode()) for letter in letters] == dead

    @rule(of=types, kind=kinds)
    def claim(self, of: str, kind: str) -> None:
        question, now = self.sources[of].newest(kind), self.house.now
        if question is None:
            return
        is_free = question.is_due(now) and (question.deadline is not None and question.deadline > now)

        claimed = self.house.claim(str(question.id))

        assert (claimed is not None) == is_free
        if claimed is not None:
            question.attempts, question.held = question.attempts + 1, now + LEASE + CLAIM_MARGIN
            self.claimed.append((self.sources[of], question, claimed))

    @precondition(lambda self: self.claimed)
    @rule(which=st.integers(0, 5), verdict=st.sampled_from(list(Verdict)))
    def record(self, which: int, verdict: Verdict) -> None:
        source, question, claimed = self.claimed.pop(which % len(self.claimed))
        error = None if verdict is Verdict.DONE else "The external service has an error (HTTP 503)"
        self.by = "system"
        if not source.is_visible:
            with pytest.raises(NotFound):
                self.house.record(claimed, verdict, error=error)
            return

        self.house.record(claimed, verdict, error=error)

        source.record(question, claimed.attempts, verdict, error=error, now=self.house.now)

    @rule(are_lost=st.booleans())
    def dispatch(self, *, are_lost: bool) -> None:
        now = self.house.now
        due = [q for _, q in self.asked() if q.is_due(now) and (q.queued is None or q.queued <= now)]

        jobs = self.house.dispatch(lose=are_lost)

        assert Counter(jobs) == Counter(question.id for question in due)
        for question in due:
            question.queued = None if are_lost else now + timedelta(seconds=10)

    @rule(pause=pauses)
    def wait(self, pause: timedelta) -> None:
        self.house.now += pause

    @rule()
    def sweep(self) -> None:
        lost = [(source, question) for source, question in self.asked() if question.is_lost(self.house.now)]

        changes = self.house.sweep()

        said = {str(change.operation.id): str(change.operation.error) for change in changes if change.operation}
        assert set(said) == {question.id for _, question in lost}
        for source, question in lost:
            error = said[str(question.id)]
            assert error.endswith(f"; {question.kind} again")
            source.expire(question, error=error, now=self.house.now)
        self.by = "system"

    def asked(self) -> list[tuple[Source, Question]]:
        return [(source, question) for source in self.sources.values() for question in source.questions]

    @invariant()
    def all_agrees(self) -> None:
        self.look()

    def look(self) -> Written:
        """Hold all that is written against what is expected; nothing of it touches the neighbour."""
        assert self.neighbour.house.look() == self.neighbour.untouched
        return self.agreement.holds(self.sources.values(), by=self.by)

    def teardown(self) -> None:
        self.house.forget()


@pytest.fixture
def postgres(web: Flask) -> Iterator[Postgres]:
    """A look at the rows of every organization, below the services."""
    with closing(psycopg2.connect(web.extensions["settings"].owner_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', false)")
        yield connection


@pytest.fixture
def neighbour(web: Flask, postgres: Postgres) -> Iterator[Neighbour]:
    """An organization in the middle of a sync, whose rows nothing may touch."""
    forever = timedelta(days=36_500)
    house = House(web, postgres, patience=Patience(forever, forever, forever, forever))
    connection_id = house.configure_type("websearch", {"enabled": True})
    claimed = house.claim(house.press("sync", connection_id, force=False))
    assert claimed is not None
    house.record(claimed, Verdict.DONE, error=None)
    house.look()
    ids = {"tenant_id": str(house.id), "connection_id": connection_id, "operation_id": str(claimed.id)}
    yield Neighbour(house, house.look(), ids)
    house.forget()


@pytest.mark.timeout(0 if LONGER else 240)
@pytest.mark.usefixtures("celery_module")
def test_the_database_agrees_with_the_contract_after_every_step(
    web: Flask, postgres: Postgres, neighbour: Neighbour
) -> None:
    run_state_machine_as_test(
        lambda: Machine(House(web, postgres), neighbour),
        settings=settings(
            max_examples=LONGER or 60,
            stateful_step_count=40,
            derandomize=not LONGER,
            database=None,
            **PHASES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
