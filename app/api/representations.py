"""Rows as the API shows them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.domain import display, endings, report_log, source_types
from app.domain.aggregate import CONNECTION_STATUS_BY_KIND, ENDED_STATES, OPEN_STATES, ConnectionAggregate
from app.domain.large_values import MAX_STORED_JSON_BYTES
from app.domain.status_messages import OPTIONS_SCHEMA

# What the database holds is shown, whatever it is.
Options = Annotated[dict[str, Any], WithJsonSchema(OPTIONS_SCHEMA)]


def _enum_schema(*values: str | None) -> dict[str, Any]:
    """Tell readers which values there are; what the database holds is shown, whatever it is."""
    return {"enum": list(values)}


class Representation(BaseModel):
    """Made from the attributes of what it shows. Its checks are made when it is first used, for a start uses few."""

    model_config = ConfigDict(from_attributes=True, defer_build=True)


class DisplayView(Representation):
    """What a person sees: one state, why, who must act, and what to do next. Computed here, for every reader alike."""

    state: str = Field(json_schema_extra=_enum_schema(*display.STATES))
    reason: str | None = Field(description="A sentence for a person.")
    actor: str | None = Field(
        description="Who must act: a member, whoever runs Rita or that service (operator), that service, nobody.",
        json_schema_extra=_enum_schema(*display.ACTORS),
    )
    action: str | None = Field(description="What to do next.", json_schema_extra=_enum_schema(*display.ACTIONS))
    alternative: str | None = Field(
        description="What may help if `action` does not.", json_schema_extra=_enum_schema(*display.ACTIONS)
    )
    advice: str | None = Field(description="A sentence or two on what to do, beside the reason.")
    note: str | None = Field(description="What is worth knowing beside the state.")
    ending: str | None = Field(
        description="How the operation ended that the state comes from; null where an earlier release wrote it.",
        json_schema_extra=_enum_schema(*endings.ENDINGS, None),
    )


class OperationView(Representation):
    """An operation as the API shows it: one question to the external service."""

    id: UUID
    kind: str = Field(json_schema_extra=_enum_schema("verify", "sync"))
    origin: str = Field(json_schema_extra=_enum_schema("user", "service"))
    state: str = Field(json_schema_extra=_enum_schema(*sorted(OPEN_STATES)))
    requested_email: str | None
    attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_attempt_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    started_at: datetime | None
    last_reported_at: datetime | None = Field(description="By the external service's own clock.")
    deadline_at: datetime | None = Field(description="When it counts as lost, unless something is heard of it.")
    documents_processed: int | None


class ConnectionView(Representation):
    """A connection as the API shows it, and the operation that runs on it."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    id: UUID
    organization_id: UUID
    type: str = Field(examples=["confluence"])
    name: str = Field(examples=["Confluence"])
    description: str | None
    config: dict[str, Any] = Field(examples=[{"spaces": "ENG,PROD"}])
    status: str = Field(
        description="What happens now.", json_schema_extra=_enum_schema("idle", *CONNECTION_STATUS_BY_KIND.values())
    )
    last_sync_status: str | None = Field(
        description="What happened last time.", json_schema_extra=_enum_schema("completed", "failed", None)
    )
    latest_options: Options | None = Field(
        description="What the last good verification found to choose from: comma-separated, or an array of names.",
        examples=[{"spaces": "ENG,PROD,HR"}],
    )
    enabled: bool
    last_verification_at: datetime | None
    last_verification_error: str | None
    last_sync_at: datetime | None
    last_sync_error: str | None
    last_sync_documents: int | None = Field(
        description="How many documents the last sync had counted when it ended, if it said; null until one has ended."
    )
    created_by: UUID
    updated_by: UUID
    created_at: datetime
    updated_at: datetime
    version: str = Field(
        description="Of what can be configured: for `If-Match`, in quotes.", examples=["0f1e2d3c4b5a6978"]
    )
    operation: OperationView | None = None
    display: DisplayView

    @classmethod
    def from_aggregate(cls, aggregate: ConnectionAggregate) -> ConnectionView:
        """Return what the API shows of a connection."""
        connection, running = aggregate.connection, aggregate.running_operation()
        return cls(
            **{name: getattr(connection, name) for name in CONNECTION_FIELDS},
            operation=OperationView.model_validate(running) if running else None,
            display=DisplayView.model_validate(display.display_of_connection(connection, running)),
        )


CONNECTION_FIELDS = [name for name in ConnectionView.model_fields if name not in ("operation", "display")]


class Attempt(Representation):
    """One POST of an operation's webhook."""

    attempt: int
    at: datetime
    verdict: str = Field(json_schema_extra=_enum_schema("done", "retry", "final"))
    status_code: int | None
    error: str | None
    duration_ms: int


class Reported(Representation):
    """What the external service said of a sync at one moment, by its own clock."""

    at: datetime
    documents_processed: int | None
    is_end: bool


def _parse_stored_reports(text: object) -> object:
    """Return what an operation's row keeps as text."""
    if text is not None and not isinstance(text, str):
        return text
    found = report_log.parse_entries(text)
    return [Reported(at=report_log.entry_time(e), documents_processed=e.documents, is_end=e.is_end) for e in found]


class OperationDetail(OperationView):
    """An operation with its end, its attempts and who asked for it."""

    connection_id: UUID
    state: str = Field(json_schema_extra=_enum_schema(*sorted(OPEN_STATES | ENDED_STATES)))
    requested_by: UUID | None
    finished_at: datetime | None
    error: str | None
    reported_late: bool = Field(description="The answer came after we had stopped waiting, and was taken all the same.")
    late_reports: int = Field(description="No longer counted: copies leave no trace.", deprecated=True)
    attempt_log: list[Attempt]
    request_id: str | None = Field(description="Of the request that asked for it, as in the logs.")
    reports: Annotated[list[Reported], BeforeValidator(_parse_stored_reports)] = Field(
        description="What was said of it with a time, in its order; of a long sync, the first and the last of it."
    )


class AuditEntry(Representation):
    """One change: who made it, and each field's value before and after."""

    id: UUID
    operation_id: UUID | None
    actor_type: str = Field(json_schema_extra=_enum_schema("user", "external_service", "system"))
    actor_id: UUID | None
    actor_email: str | None
    action: str = Field(examples=["connection.configured"])
    changes: dict[str, tuple[Any, Any]] = Field(
        description=f"Of a value over {MAX_STORED_JSON_BYTES // 1024} KiB, or of hundreds of arrays and objects: "
        "`abridged`, `bytes`, `sha256` (of its JSON, keys sorted) and how it `begins`.",
        examples=[{"enabled": [False, True]}],
    )
    request_id: str | None
    created_at: datetime


class FieldView(Representation):
    """One input of a type's form."""

    name: str = Field(examples=["api_token"])
    label: str = Field(examples=["API token"])
    help: str = Field(description="A sentence for whoever fills it in; may be empty.")
    link: str = Field(description="The source's own page where it is found or made; may be empty.")
    kind: str = Field(description="What it takes.", json_schema_extra=_enum_schema(*source_types.INPUT_KINDS))
    required: bool
    secret: bool = Field(description="Never to be shown, prefilled or kept.")


class TypeView(Representation):
    """A kind of source, as its form is made from it."""

    name: str = Field(examples=["confluence"])
    label: str = Field(examples=["Confluence"])
    description: str
    icon: str
    config_fields: list[FieldView]
    credential_fields: list[FieldView]
    options_key: str | None = Field(description="The key of the verification's options to choose from.")
    needs_credentials: bool
    seeded: bool = Field(description="Whether every organization has one, which can be disabled but not deleted.")

    @classmethod
    def from_source_type(cls, source_type: source_types.SourceType) -> TypeView:
        """Return the view of a registry's entry."""
        seeded = source_type.name in source_types.SEEDED_TYPES
        return cls.model_validate({**asdict(source_type), "icon": source_type.icon, "seeded": seeded})
