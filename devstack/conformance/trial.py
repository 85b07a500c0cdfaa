"""The trial: what Rita would post, in an order that brings out the answers, and what is heard meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict

from app.domain import ids
from app.domain.retry import AttemptOutcome, RetryVerdict
from app.outbound import webhook, webhook_bodies
from app.outbound.webhook import WebhookTarget
from devstack.conformance.listener import Heard, Listener
from devstack.reports import Kind, wire_time

# Beyond any tolerance; the published libraries allow five minutes.
LONG_AGO = timedelta(hours=1)
# Of Standard Webhooks' form, and not the agreed one.
ANOTHER_SECRET = "whsec_bm90LXRoZS1hZ3JlZWQtc2VjcmV0LW9mLXRoZS10cmlhbA=="  # noqa: S105
ANOTHER_AUTHORIZATION = "Bearer not-the-agreed-one"
ENDS = {"verification": {"success", "failed"}, "sync": {"sync_completed", "sync_failed", "completed", "failed"}}


class Material(BaseModel):
    """What to try with: credentials that the service will find good, bad, and pointing nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    connection_type: str = "confluence"
    needs_credentials: bool = True
    settings: dict[str, Any] = {}
    config: dict[str, Any] = {"spaces": "ENG,PROD"}
    good: dict[str, Any] = {"url": "https://acme.example", "email": "ada@acme.example", "api_token": "a-good-token"}
    bad: dict[str, Any] = good | {"api_token": "a-bad-token"}
    unreachable: dict[str, Any] = good | {"url": "https://unreachable.example", "api_token": "some-token"}


@dataclass(frozen=True)
class Patience:
    """How long to wait: for each answer, and for what must not come."""

    verification: timedelta = timedelta(seconds=120)
    sync: timedelta = timedelta(minutes=10)
    quiet: timedelta = timedelta(seconds=10)


@dataclass
class Asked:
    """One operation: what was posted, what each POST was answered, when it was first accepted."""

    kind: Kind
    body: Mapping[str, Any]
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    accepted_at: float | None = None
    repeated_at: float | None = None

    @property
    def operation_id(self) -> str:
        """The id that is to be echoed."""
        return str(self.body["operation_id"])

    def owns(self, heard: Heard) -> bool:
        """Tell whether a message is about this: by the id it echoes, else by what it is addressed to."""
        said = heard.said
        if said.get("operation_id") is not None:
            return str(said["operation_id"]) == self.operation_id
        kind = said.get("type") or ("verification" if "options" in said or said.get("status") == "success" else "sync")
        address = (str(self.body["connection_id"]), str(self.body["tenant_id"]))
        return kind == self.kind and (str(said.get("connection_id")), str(said.get("tenant_id"))) == address


class Trial:
    """Everything that was asked and heard. `run` takes as long as the service does."""

    def __init__(self, target: WebhookTarget, *, listener: Listener, material: Material, patience: Patience) -> None:
        self.target = target
        self.listener = listener
        self.material = material
        self.patience = patience
        self.asked: dict[str, Asked] = {}

    def run(self) -> None:
        """Ask everything, and listen."""
        self._knock()
        self._verify()
        self._sync()
        self.listener.listen(lambda: False, within=max(self.patience.quiet, self._longest_wait()))

    def heard_of(self, name: str) -> list[Heard]:
        """Return the messages about one operation, as they came."""
        asked = self.asked.get(name)
        return [heard for heard in self.listener.heard if asked and asked.owns(heard)]

    def ended(self, name: str) -> bool:
        """Tell whether an operation has come to its end."""
        return any(heard.said.get("status") in ENDS[self.asked[name].kind] for heard in self.heard_of(name))

    def accepted(self, *names: str) -> list[str]:
        """Return those that the service took."""
        return [name for name in names if name in self.asked and self.asked[name].accepted_at is not None]

    def _knock(self) -> None:
        """Post what must be refused."""
        good, stranger = self.material.good, replace(self.target, authorization=ANOTHER_AUTHORIZATION)
        self._post("stranger", self._verification(good), target=stranger)
        if self.target.signing_secrets:
            forger = replace(self.target, signing_secrets=(ANOTHER_SECRET,))
            self._post("forged", self._verification(good), target=forger)
            self._post("old", self._verification(good), signed=datetime.now(UTC) - LONG_AGO)

    def _verify(self) -> None:
        self._post("good", self._verification(self.material.good))
        self._repeat("good")
        self._post("bad", self._verification(self.material.bad))
        self._post("unreachable", self._verification(self.material.unreachable))
        self._post("grown", self._verification(self.material.good, a_key_of_a_later_version={"is": ["ignored"]}))
        waiting = self.accepted("good", "bad", "unreachable", "grown")
        self.listener.listen(lambda: all(map(self.ended, waiting)), within=self.patience.verification)

    def _sync(self) -> None:
        verified = self.asked["good"].body
        mine = self._sync_of(verified["tenant_id"], verified["connection_id"])
        self._post("sync", mine)
        if self.material.needs_credentials:
            self._post("foreign", self._sync_of(uuid4(), verified["connection_id"]))
        waiting = self.accepted("sync", "foreign")
        self.listener.listen(lambda: all(map(self.ended, waiting)), within=self.patience.sync)
        if self.accepted("sync") and self.ended("sync"):
            self._repeat("sync")

    def _post(
        self, name: str, body: Mapping[str, Any], *, target: WebhookTarget | None = None, signed: datetime | None = None
    ) -> None:
        asked = self.asked.setdefault(name, Asked("verification" if "credentials" in body else "sync", body))
        outcome = webhook.post_webhook(
            asked.body,
            webhook_id=asked.operation_id,
            request_id=f"conformance-{name}",
            target=target or self.target,
            signing_time=signed,
        )
        asked.outcomes.append(outcome)
        if outcome.verdict is RetryVerdict.DONE and asked.accepted_at is None:
            asked.accepted_at = time.monotonic()

    def _repeat(self, name: str) -> None:
        if self.accepted(name):
            self.asked[name].repeated_at = time.monotonic()
            self._post(name, self.asked[name].body)

    def _longest_wait(self) -> timedelta:
        """Return the longest that a verification took: a second one would take about as long again."""
        waits = [
            heard.at - (self.asked[name].accepted_at or heard.at)
            for name in self.accepted("good", "bad", "unreachable")
            for heard in self.heard_of(name)[:1]
        ]
        return min(timedelta(seconds=2 * max(waits, default=0.0)), self.patience.verification)

    def _verification(self, credentials: Mapping[str, Any], **grown: Any) -> dict[str, Any]:
        own = {"settings": self.material.settings, "credentials": credentials}
        return webhook_bodies.VerifyWebhook.model_validate(self._common(uuid4(), uuid4()) | own).model_dump() | grown

    def _sync_of(self, tenant_id: UUID, connection_id: UUID) -> dict[str, Any]:
        own = {"connection_name": "Conformance", "config": self.material.config}
        return webhook_bodies.SyncWebhook.model_validate(self._common(tenant_id, connection_id) | own).model_dump()

    def _common(self, tenant_id: UUID, connection_id: UUID) -> dict[str, Any]:
        return {
            "user_email": "conformance@rita.example",
            "user_id": uuid4(),
            "tenant_id": tenant_id,
            "timestamp": wire_time(datetime.now(UTC)),
            "connection_id": connection_id,
            "connection_type": self.material.connection_type,
            "operation_id": ids.new_id_at(datetime.now(UTC)),
        }
