"""What an honest external service reports about one webhook, and when.

Pure: no network, no stored state; chance is passed in. The shapes are those of CONTRACT, sections 4 and 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

Text = Annotated[str, Field(min_length=1)]
Key = tuple[str, str, str]
Kind = Literal["verification", "sync"]


class _Webhook(BaseModel):
    """What both webhooks carry; ids stay text, so that they are echoed to the letter."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    operation_id: Text
    user_email: str
    user_id: Text
    tenant_id: Text
    timestamp: AwareDatetime
    connection_id: Text
    connection_type: Text

    @property
    def key(self) -> Key:
        """Name the place of this connection's credentials."""
        return self.tenant_id, self.connection_id, self.connection_type


class VerifyCredentials(_Webhook):
    """The question whether credentials are good."""

    kind: ClassVar[Kind] = "verification"

    source: Literal["rita-chat"]
    action: Literal["verify_credentials"]
    settings: dict[str, Any]
    credentials: dict[str, Any] = Field(repr=False)


class SyncRequested(_Webhook):
    """The wish for a sync; it brings no credentials."""

    kind: ClassVar[Kind] = "sync"

    source: Literal["rita-data-sources"]
    action: Literal["data_source_sync_requested"]
    connection_name: str
    config: dict[str, Any]


Webhook = VerifyCredentials | SyncRequested
WEBHOOK: TypeAdapter[Webhook] = TypeAdapter(Annotated[Webhook, Field(discriminator="action")])


@dataclass(frozen=True, kw_only=True)
class Report:
    """One status message to be; both times count from the moment the webhook was accepted."""

    fields: Mapping[str, object]
    happens: timedelta
    sent: timedelta
    dated: bool = True

    def message(self, *, accepted_at: datetime) -> dict[str, object]:
        """Write the message out; only syncs are dated."""
        if "options" in self.fields or not self.dated:
            return dict(self.fields)
        return {"timestamp": wire_time(accepted_at + self.happens), **self.fields}


Options = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Source:
    """What the stand-in pretends to find behind one type of connection."""

    label: str
    options: Options | None = None
    needs_credentials: bool = True


SOURCES = {
    "confluence": Source("Confluence", {"spaces": "ENG,PROD,HR,DOCS"}),
    "servicenow": Source("ServiceNow", {"tables": "incident,kb_knowledge,problem,change_request"}),
    # Names with commas take an array.
    "sharepoint": Source("SharePoint", {"sites": ["Intranet", "Engineering", "Policies", "Sales, EMEA"]}),
    "websearch": Source("Web search", {"engines": "Brave,DuckDuckGo,Mojeek"}, needs_credentials=False),
    "jira": Source("Jira", {"projects": "RITA,OPS,WEB"}),
    "gdrive": Source("Google Drive", {"folders": "Handbook,Projects,Contracts"}),
    "slack": Source("Slack", {"channels": "general,engineering,support"}),
    "notion": Source("Notion", {"databases": "Roadmap,Wiki,Meetings"}),
    "zendesk": Source("Zendesk", {"categories": "Billing,Accounts,Troubleshooting"}),
}

# The first of these that was given is what a provider would complain about.
_SECRETS = {
    "api_token": "API token",
    "api_key": "API key",
    "password": "user name or password",
    "client_secret": "client secret",
    "access_token": "access token",
}
_BAD_WORDS = ("bad", "invalid", "wrong")


def source_of(connection_type: str) -> Source:
    """Find the type, or make up a plain one: a new type in Rita needs no change here."""
    return SOURCES.get(connection_type) or Source(connection_type.capitalize())


def wire_time(moment: datetime) -> str:
    """Write ISO 8601 in UTC with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def texts_in(value: object) -> Iterator[str]:
    """Yield every string inside JSON, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def complaint_about(credentials: Mapping[str, object], *, connection_type: str) -> str | None:
    """Return the provider's refusal in words, or None for good credentials; the value itself decides."""
    source = source_of(connection_type)
    given = " ".join(texts_in(credentials)).lower()
    if not given:
        return f"{source.label} needs credentials and none were given" if source.needs_credentials else None
    if "unreachable" in given:
        return f"{source.label} could not be reached"
    if any(word in given for word in _BAD_WORDS):
        secret = next((name for key, name in _SECRETS.items() if credentials.get(key)), "credentials")
        return f"{source.label} refused the {secret} (401)"
    return None


def verification(
    webhook: VerifyCredentials,
    *,
    error: str | None,
    chance: Random,
    options: Options | None = None,
    after: float | None = None,
) -> list[Report]:
    """Report one verdict after a moment of looking; `options` and `after` (seconds) go before what is made up."""
    found = source_of(webhook.connection_type).options if options is None else options
    if webhook.connection_type == "websearch" and not webhook.credentials and options is None:
        found = None  # the public engine, with nothing to choose
    verdict = {"status": "failed" if error else "success", "options": None if error else found, "error": error}
    pause = timedelta(seconds=chance.uniform(0.4, 2.5) if after is None else after)
    return [Report(fields=_addressed(webhook) | verdict, happens=pause, sent=pause)]


def sync(
    webhook: SyncRequested,
    *,
    credentials_held: bool,
    error: str | None,
    chance: Random,
    documents: Sequence[int] | None = None,
    pace: float | None = None,
) -> list[Report]:
    """Report a start, growing counts and an end; `documents` and `pace` (seconds) go before what is made up.

    Progress is `sync_started` again with a later timestamp; an error ends the sync half-way.
    """
    source = source_of(webhook.connection_type)
    after = _pause(chance, 0.3, 0.9, pace=pace)
    if source.needs_credentials and not credentials_held:
        return [_sync_report(webhook, after, status="sync_failed", error_message="no credentials stored: verify again")]

    counts = documents or list(itertools.accumulate(chance.randint(7, 60) for _ in range(chance.randint(3, 5))))
    reached = 0
    reports = [_sync_report(webhook, after, status="sync_started", documents_processed=reached)]
    for reached in counts[: len(counts) // 2] if error else counts:
        after += _pause(chance, 0.5, 1.0, pace=pace)
        reports.append(_sync_report(webhook, after, status="sync_started", documents_processed=reached))
    after += _pause(chance, 0.3, 0.8, pace=pace)
    ending: dict[str, object] = {"status": "sync_completed"}
    if error:
        ending = {"status": "sync_failed", "error_message": error}
    return [*reports, _sync_report(webhook, after, documents_processed=reached, **ending)]


def _pause(chance: Random, shortest: float, longest: float, *, pace: float | None) -> timedelta:
    return timedelta(seconds=chance.uniform(shortest, longest) if pace is None else pace)


def _sync_report(webhook: SyncRequested, after: timedelta, **fields: object) -> Report:
    return Report(fields=_addressed(webhook) | fields, happens=after, sent=after)


def _addressed(webhook: Webhook) -> dict[str, object]:
    return {
        "type": webhook.kind,
        "connection_id": webhook.connection_id,
        "tenant_id": webhook.tenant_id,
        "operation_id": webhook.operation_id,
    }
