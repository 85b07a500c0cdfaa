"""Where the machine stands: one organization, what is expected of it, and the looks at both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant

from app.domain.aggregate import Operation
from app.errors import AppError
from tests.integration.services.machine.agreement import Agreement
from tests.integration.services.machine.expected import Source, Waits
from tests.integration.services.machine.house import House, Neighbour, Written
from tests.integration.services.machine.messages import Message, Sent, send
from tests.integration.services.machine.questions import Question

NAMES = {
    "confluence": "Confluence", "servicenow": "ServiceNow", "sharepoint": "SharePoint",
    "websearch": "Web Search", "jira": "Jira",
}  # fmt: skip


def pick(things: list[Any], which: int) -> Any:
    """Return one of several, the newest for 0."""
    return things[-1 - which % len(things)]


def id_of(source: Source) -> str:
    """Return a connection's id, or one that there is not."""
    return source.id or str(uuid4())


class Ground(RuleBasedStateMachine):
    """One organization, its neighbour, and how each act is held against what is expected."""

    def __init__(self, house: House, neighbour: Neighbour) -> None:
        super().__init__()
        self.house, self.neighbour = house, neighbour
        attempts = {kind: house.settings.webhook_retry_schedule(kind) for kind in ("verify", "sync")}
        waits = Waits(**asdict(house.patience), attempts=attempts)
        self.sources = {name: Source(name, title, waits) for name, title in NAMES.items()}
        self.claimed: list[tuple[Source, Question, Operation]] = []
        self.sent: list[Sent] = []
        self.agreement, self.by = Agreement(house), "user"

    def pressed(self, refusals: set[str], act: Callable[[], Any]) -> Any:
        """Do what a person asks for; None if it is refused, which it is exactly for these reasons."""
        self.by = "user"
        if not refusals:
            return act() or True
        with pytest.raises(AppError) as refusal:
            act()
        assert refusal.value.code in refusals
        return None

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
