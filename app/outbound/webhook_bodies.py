"""The bodies of the two webhooks: what CONTRACT's section 4 lists, key by key."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class WebhookBody(BaseModel):
    """What both webhooks say."""

    # A body that does not fit is a bug of ours; its error must not show the credentials.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    user_email: str = Field(description="Who asked.", examples=["ada@acme.example"])
    user_id: UUID = Field(description="Who asked.")
    tenant_id: UUID = Field(description="The organization; part of the key of its credentials.")
    timestamp: str = Field(
        description="When it was asked for: ISO 8601, UTC, milliseconds, Z. The same at every attempt.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        examples=["2026-11-22T10:00:00.000Z"],
    )
    connection_id: UUID = Field(description="The connection; part of the key of its credentials.")
    connection_type: str = Field(
        description="The kind of source; part of the key of its credentials.", examples=["confluence"]
    )
    operation_id: UUID = Field(
        description="The question's id, the same at every attempt and equal to the header `webhook-id`; echo it."
    )


class VerifyWebhook(WebhookBody):
    """Check these credentials, and keep them if they are good."""

    source: Literal["rita-chat"] = "rita-chat"
    action: Literal["verify_credentials"] = "verify_credentials"
    settings: dict[str, Any] = Field(
        description="Settings that the check may need; not a secret.", examples=[{"spaces": "ENG"}]
    )
    credentials: dict[str, Any] = Field(
        description="The only place where they are ever sent. Empty for a source that needs none.",
        examples=[{"url": "https://acme.atlassian.net", "email": "ada@acme.example", "api_token": "…"}],
        repr=False,
    )


class SyncWebhook(WebhookBody):
    """Sync this connection with the credentials that were kept; none are sent."""

    source: Literal["rita-data-sources"] = "rita-data-sources"
    action: Literal["data_source_sync_requested"] = "data_source_sync_requested"
    connection_name: str = Field(description="What people call it.", examples=["Confluence"])
    config: dict[str, Any] = Field(description="What to sync.", examples=[{"spaces": "ENG,PROD"}])
