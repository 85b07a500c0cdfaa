"""What each endpoint answers, as the models that the answers are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from app.api.views import AuditEntry, ConnectionView, OperationDetail, TypeView, View
from app.domain.cases import Operation


class Answer(View):
    """What every answer has in common: no field is ever left out."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Seeded(Answer):
    """How many of the seeded connections were missing."""

    success: Literal[True] = True
    created: int = Field(ge=0)
    existing: int = Field(ge=0)
    message: str = Field(examples=["Created 4 new data sources, 0 already existed"])


class Person(Answer):
    """A person, as the settings read a token: ids and the role are Rita's, whatever the issuer's are."""

    user_id: UUID = Field(description="As in `created_by`, `updated_by` and the audit trail.")
    email: str
    organization_id: UUID
    role: Literal["owner", "admin", "member"]
    expires_at: datetime = Field(description="When the token ends.")


class Me(Answer):
    """Who asks."""

    data: Person


class ManyConnections(Answer):
    """The connections that pass the filters."""

    data: list[ConnectionView]


class OneConnection(Answer):
    """A connection."""

    data: ConnectionView


class ManyOperations(Answer):
    """A page of operations, newest first; `next` leads to the one before, or is null at the end."""

    data: list[OperationDetail]
    next: UUID | None


class OneOperation(Answer):
    """An operation."""

    data: OperationDetail


class ManyAuditEntries(Answer):
    """A page of the audit trail, newest first; `next` leads to the one before, or is null at the end."""

    data: list[AuditEntry]
    next: UUID | None


class ManyTypes(Answer):
    """The types on offer."""

    data: list[TypeView]


class Deleted(Answer):
    """A connection that is no longer to be seen."""

    id: UUID
    deleted_at: datetime


class OneDeleted(Answer):
    """What was deleted, and when."""

    data: Deleted


class Verifying(Answer):
    """A verification under way; its outcome comes over the event stream, at the latest at `deadline_at`."""

    status: Literal["verifying"] = "verifying"
    message: Literal["Verification in progress"] = "Verification in progress"
    operation_id: UUID
    deadline_at: datetime | None

    @classmethod
    def of(cls, operation: Operation) -> Verifying:
        """Return the answer to the request that opened an operation."""
        return cls(operation_id=operation.id, deadline_at=operation.deadline_at)


class Triggered(Answer):
    """A sync under way; its course comes over the event stream."""

    id: UUID = Field(description="The connection's id.")
    status: Literal["syncing"] = "syncing"
    triggered_at: datetime
    operation_id: UUID


class Syncing(Answer):
    """A sync under way."""

    success: Literal[True] = True
    data: Triggered

    @classmethod
    def of(cls, operation: Operation) -> Syncing:
        """Return the answer to the request that opened an operation."""
        triggered = Triggered(id=operation.connection_id, triggered_at=operation.created_at, operation_id=operation.id)
        return cls(data=triggered)


class Ticket(Answer):
    """Opens the event stream once, as `?ticket=`, within so many seconds."""

    ticket: str
    expires_in: int


class Alive(Answer):
    """The process lives."""

    status: Literal["ok"] = "ok"


Check = Literal["ok", "failing"]


class Checks(Answer):
    """Whether each server answered when it was last looked at, at most a second ago."""

    database: Check
    redis: Check
    broker: Check


class Ready(Answer):
    """What no request can do without answers; `failing` names what else does not."""

    status: Literal["ok"] = "ok"
    failing: list[str] = Field(examples=[[]])
    checks: Checks


class Unavailable(Answer):
    """Something that is needed does not answer."""

    status: Literal["unavailable"] = "unavailable"
    failing: list[str] = Field(examples=[["database"]])
    checks: Checks


class Document(Answer):
    """This document, as every OpenAPI document begins."""

    model_config = ConfigDict(extra="allow")

    openapi: str = Field(pattern=r"^3\.1\.")
    info: dict[str, Any]
    paths: dict[str, Any]
