"""What leaves without being asked for, as the document describes it: the events of the stream and the two webhooks.

`outbound/events.py` makes the events; a test holds both together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.api.representations import ConnectionView, DisplayView, OperationView, Options, Representation
from app.outbound.webhook_bodies import SyncWebhook, VerifyWebhook, WebhookBody


class Event(Representation):
    """What every `data_source_update` says: which connection changed, how, and what happens on it now."""

    model_config = ConfigDict(extra="forbid")

    connectionId: UUID  # noqa: N815 - the wire's names
    status: Literal["idle", "verifying", "syncing"]
    display: DisplayView
    operation: OperationView | None = Field(description="What runs now.")
    change: str = Field(examples=["sync.succeeded"])
    timestamp: datetime


class ConfigurationEvent(Event):
    """Somebody created, configured, restored or deleted a connection."""

    type: str
    name: str
    description: str | None
    config: dict[str, Any]
    enabled: bool
    version: str
    deleted: bool


class SyncEvent(Event):
    """A sync was asked for, started or ended."""

    operation_id: UUID
    last_sync_status: Literal["completed", "failed"] | None
    last_sync_at: datetime | None
    last_sync_error: str | None
    last_sync_documents: int | None = Field(description="Of the last sync that has ended.")
    documentsProcessed: int | None  # noqa: N815


class VerificationEvent(Event):
    """A verification was asked for or ended."""

    operation_id: UUID
    last_verification_at: datetime | None
    last_verification_error: str | None
    latest_options: Options | None


class Snapshot(Representation):
    """`data_source_snapshot`: every connection, at the beginning of a stream that continues none."""

    model_config = ConfigDict(extra="forbid")

    data: list[ConnectionView]
    timestamp: datetime


EVENT_MODELS: tuple[type[BaseModel], ...] = (ConfigurationEvent, SyncEvent, VerificationEvent, Snapshot)

EXAMPLE_STREAM = """\
retry: 3000
: connected

event:data_source_update
data:{"connectionId":"0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b","status":"idle",\
"display":{"state":"completed","reason":null,"actor":null,"action":"sync","alternative":null,"advice":null,"note":null,\
"ending":"succeeded"},"operation":null,"change":"sync.succeeded",\
"timestamp":"2026-11-22T12:00:00Z","operation_id":"0191e7f4-7a30-7c55-8d11-2b4c6d8e0f1a",\
"last_sync_status":"completed","last_sync_at":"2026-11-22T12:00:00Z","last_sync_error":null,"last_sync_documents":42,"documentsProcessed":42}
id:1763812800000-0

: heartbeat

"""


WEBHOOK_MODELS: dict[str, type[WebhookBody]] = {"verify": VerifyWebhook, "sync": SyncWebhook}

WEBHOOK_DELIVERY_DESCRIPTION = """\
Posted to `AUTOMATION_WEBHOOK_URL`. Answer within 10 seconds with any 2xx; the body is ignored. The outcome is reported
later over the queue `data_source_status`. Redirects are not followed. One operation can be delivered twice, with the
same body and `webhook-id`.
"""
WEBHOOK_ANSWER_DESCRIPTIONS = {
    "2XX": "The request was taken.",
    "3XX": "Given up: redirects are not followed.",
    "4XX": "Given up; but 408, 425 and 429 are tried again, after `Retry-After` if it is given.",
    "5XX": "Tried again, after `Retry-After` if it is given.",
}
