"""What each endpoint answers, as the models that the answers are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from app.api.representations import AuditEntry, ConnectionView, OperationDetail, Representation, TypeView
from app.domain.aggregate import Operation


class ResponseBody(Representation):
    """What every answer has in common: no field is ever left out."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Seeded(ResponseBody):
    """How many of the seeded connections were missing."""

    success: Literal[True] = True
    created: int = Field(ge=0)
    existing: int = Field(ge=0)
    message: str = Field(examples=["Created 4 new data sources, 0 already existed"])


class Person(ResponseBody):
    """A person, as the settings read a token: ids and the role are Rita's, whatever the issuer's are."""

    user_id: UUID = Field(description="As in `created_by`, `updated_by` and the audit trail.")
    email: str
    organization_id: UUID
    role: Literal["owner", "admin", "member"]
    expires_at: datetime = Field(description="When the token ends.")


class Me(ResponseBody):
    """Who asks."""

    data: Person


class ManyConnections(ResponseBody):
    """The connections that pass the filters."""

    data: list[ConnectionView]


class OneConnection(ResponseBody):
    """A connection."""

    data: ConnectionView


class ManyOperations(ResponseBody):
    """A page of operations, newest first; `next` leads to the one before, or is null at the end."""

    data: list[OperationDetail]
    next: UUID | None


class OneOperation(ResponseBody):
    """An operation."""

    data: OperationDetail


class ManyAuditEntries(ResponseBody):
    """A page of the audit trail, newest first; `next` leads to the one before, or is null at the end."""

    data: list[AuditEntry]
    next: UUID | None


class ManyTypes(ResponseBody):
    """The types on offer."""

    data: list[TypeView]


class Deleted(ResponseBody):
    """A connection that is no longer to be seen."""

    id: UUID
    deleted_at: datetime


class OneDeleted(ResponseBody):
    """What was deleted, and when."""

    data: Deleted


class Verifying(ResponseBody):
    """A verification under way; its outcome comes over the event stream, at the latest at `deadline_at`."""

    status: Literal["verifying"] = "verifying"
    message: Literal["Verification in progress"] = "Verification in progress"
    operation_id: UUID
    deadline_at: datetime | None

    @classmethod
    def from_operation(cls, operation: Operation) -> Verifying:
        """Return the answer to the request that opened an operation."""
        return cls(operation_id=operation.id, deadline_at=operation.deadline_at)


class Triggered(ResponseBody):
    """A sync under way; its course comes over the event stream."""

    id: UUID = Field(description="The connection's id.")
    status: Literal["syncing"] = "syncing"
    triggered_at: datetime
    operation_id: UUID


class Syncing(ResponseBody):
    """A sync under way."""

    success: Literal[True] = True
    data: Triggered

    @classmethod
    def from_operation(cls, operation: Operation) -> Syncing:
        """Return the answer to the request that opened an operation."""
        triggered = Triggered(id=operation.connection_id, triggered_at=operation.created_at, operation_id=operation.id)
        return cls(data=triggered)


class Ticket(ResponseBody):
    """Opens the event stream once, as `?ticket=`, within so many seconds."""

    ticket: str
    expires_in: int


class Alive(ResponseBody):
    """The process lives."""

    status: Literal["ok"] = "ok"


CheckResult = Literal["ok", "failing"]


class Checks(ResponseBody):
    """Whether each server answered when it was last looked at, at most a second ago."""

    database: CheckResult
    redis: CheckResult
    broker: CheckResult


class Ready(ResponseBody):
    """What no request can do without answers; `failing` names what else does not."""

    status: Literal["ok"] = "ok"
    failing: list[str] = Field(examples=[[]])
    checks: Checks


class Unavailable(ResponseBody):
    """Something that is needed does not answer."""

    status: Literal["unavailable"] = "unavailable"
    failing: list[str] = Field(examples=[["database"]])
    checks: Checks


class Document(ResponseBody):
    """This document, as every OpenAPI document begins."""

    model_config = ConfigDict(extra="allow")

    openapi: str = Field(pattern=r"^3\.1\.")
    info: dict[str, Any]
    paths: dict[str, Any]
