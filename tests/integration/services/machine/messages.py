"""Status messages of every kind and dialect: drawn as intentions, then said about what there is at that moment."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st

from tests.factories import NOON
from tests.integration.services.machine.expected import Source
from tests.integration.services.machine.questions import COPIED_WITHIN, Question, Said

STATUSES = {
    ("sync", "started"): "sync_started",
    ("sync", "succeeded"): "sync_completed",
    ("sync", "failed"): "sync_failed",
    ("verify", "succeeded"): "success",
    ("verify", "failed"): "failed",
}
OLD_STATUSES = STATUSES | {
    ("sync", "started"): "started",
    ("sync", "succeeded"): "completed",
    ("sync", "failed"): "failed",
}
WITHOUT_A_REASON = {
    "sync": "The external service reported a failure without a reason",
    "verify": "The external service rejected the credentials without a reason",
}
# The service's clock is ahead of ours, by less than what no clock can be: beyond that the two are never compared.
AHEAD = timedelta(hours=20)


@dataclass(frozen=True)
class Message:
    """An intention: `of` is the operation to name, `step` the seconds since the newest message applied."""

    type: str
    kind: str
    word: str
    of: str = "none"
    step: int | None = None
    documents: int | None = None
    error: str | None = None
    options: dict[str, str] | None = None
    is_old: bool = False


def messages(types: tuple[str, ...]) -> st.SearchStrategy[Message]:
    """Draw messages about connections of these types; what their kind has no use for is left unsaid."""
    return st.builds(
        Message,
        type=st.sampled_from(types),
        kind=st.sampled_from(["sync", "verify"]),
        word=st.sampled_from(["started", "succeeded", "failed"]),
        of=st.sampled_from(["open", "none", "newest", "open", "none", "older", "other kind", "unknown"]),
        step=st.sampled_from([1, 60, None]),
        documents=st.sampled_from([None, 7, 8]),
        error=st.sampled_from([None, "disk full", "wrong password"]),
        options=st.sampled_from([None, {"spaces": "A"}, {"spaces": "A,B"}]),
        is_old=st.booleans(),
    )


@dataclass(frozen=True)
class Sent:
    """A message as it was sent, to a connection that may not have been there."""

    source: Source
    connection_id: str
    said: Said
    body: str

    @property
    def is_told_apart(self) -> bool:
        """Tell whether it has an id or a time."""
        return self.said.operation_id is not None or self.said.moment is not None

    def is_known_again(self, *, after: timedelta) -> bool:
        """Tell whether its copy will be known for one; without id and time only soon, and of the newest question."""
        if self.is_told_apart:
            return True
        is_of_newest = self.source.open(self.said.kind) in (None, self.source.newest(self.said.kind))
        return is_of_newest and after < COPIED_WITHIN


def send(message: Message, source: Source, *, tenant_id: str, answered: Question | None = None) -> Sent:
    """Say it of a connection as it is now, or of one operation, by its id unless it is to go unnamed."""
    is_sync = message.kind == "sync"
    # No verification is announced, and only the old dialect may leave its time out.
    word = "succeeded" if message.word == "started" and not is_sync else message.word
    step = 1 if message.step is None and not message.is_old else message.step
    newest = source.clock[0] if source.clock else NOON + AHEAD
    named = answered.id if answered else _named(message, source)
    if is_sync and not _is_news(source, named):
        message, step = replace(message, is_old=True), None
    said = Said(
        kind=message.kind,
        word=word,
        operation_id=named,
        moment=newest + timedelta(seconds=step) if step is not None and is_sync else None,
        documents=message.documents if is_sync else None,
        error=(message.error or WITHOUT_A_REASON[message.kind]) if word == "failed" else None,
        options=None if is_sync else message.options,
    )
    connection_id = source.id or str(uuid4())
    body = {"connection_id": connection_id, "tenant_id": tenant_id} | _content(message, said)
    return Sent(source, connection_id, said, json.dumps(body))


def _content(message: Message, said: Said) -> dict[str, Any]:
    """Write it in its dialect."""
    body: dict[str, Any] = {"status": (OLD_STATUSES if message.is_old else STATUSES)[said.kind, said.word]}
    if said.operation_id is not None:
        body["operation_id"] = said.operation_id
    if said.kind == "verify":
        body |= {"options": said.options, "error": message.error}
    else:
        body |= {"error" if message.is_old else "error_message": message.error, "documents_processed": said.documents}
    if said.moment is not None:
        body["timestamp"] = said.moment.isoformat()
    if not message.is_old:
        body["type"] = "sync" if said.kind == "sync" else "verification"
    return body


def unusable(connection_id: str, tenant_id: str, *, foreign: dict[str, str]) -> list[tuple[str, str]]:
    """Return the reason of a dead letter with each message that comes to it; `foreign` are another tenant's ids."""
    good = {"type": "sync", "connection_id": connection_id, "tenant_id": tenant_id, "status": "sync_completed"}
    dated = good | {"timestamp": NOON.isoformat()}
    return [
        ("not_json", json.dumps(dated)[:-1]),
        ("unknown_type", json.dumps(dated | {"type": "deletion"})),
        ("wrong_shape", json.dumps(good | {"timestamp": "yesterday"})),
        ("unknown_connection", json.dumps(dated | {"connection_id": str(uuid4())})),
        ("unknown_operation", json.dumps(dated | {"operation_id": foreign["operation_id"]})),
        ("tenant_mismatch", json.dumps(dated | {"connection_id": foreign["connection_id"]})),
        ("tenant_mismatch", json.dumps(dated | {"tenant_id": foreign["tenant_id"]})),
    ]


def _is_news(source: Source, named: str | None) -> bool:
    """Tell whether a dated message would be the next word on what is open, or of a new sync.

    What comes in any other order has its own rules, and its own test: `test_one_history.py`.
    """
    running = source.open("sync")
    if not source.is_visible:
        return False
    if running is None:
        return named is None
    return named in (None, running.id) and running.was_sent


def _named(message: Message, source: Source) -> str | None:
    of_kind = [question for question in source.questions if question.kind == message.kind]
    of_other_kind = [question for question in source.questions if question.kind != message.kind]
    candidates = {
        "open": [question for question in of_kind if question.is_open],
        "newest": of_kind[-1:],
        "older": of_kind[:-1],
        "other kind": of_other_kind[-1:],
    }.get(message.of, [])
    if message.of == "unknown":
        return str(uuid4())
    return candidates[-1].id if candidates else None
