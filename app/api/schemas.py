"""What the API takes and gives, as the models that validate it."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Self
from uuid import UUID

import pydantic_core
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StrictBool, model_validator

from app import errors
from app.api.requests import MOST_PROBLEMS, named
from app.domain import secrets
from app.domain.cases import Case

LARGEST_CONFIG = 64 * 1024
DEEPEST_JSON = 20
# Beyond this, other JSON readers lose digits or refuse (RFC 8259, section 6).
LARGEST_NUMBER = 2**63 - 1


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON can say but PostgreSQL or a reader of the row cannot hold."""
    _check_json(value, depth=1)
    if len(pydantic_core.to_json(value)) > LARGEST_CONFIG:
        raise ValueError(f"must be no longer than {LARGEST_CONFIG} bytes of JSON")
    return value


def _check_json(value: Any, *, depth: int) -> None:
    if depth > DEEPEST_JSON:
        raise ValueError(f"must not be nested deeper than {DEEPEST_JSON} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            _storable(key)
            _check_json(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth=depth + 1)
    elif isinstance(value, str):
        _storable(value)
    elif isinstance(value, int | float) and not -LARGEST_NUMBER - 1 <= value <= LARGEST_NUMBER:
        raise ValueError("must not contain NaN, Infinity or numbers beyond 64 bits")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Name = Annotated[str, Field(max_length=200), AfterValidator(_storable), AfterValidator(_not_blank)]
Description = Annotated[str, Field(max_length=2_000), AfterValidator(_storable)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]


class ConfigureBody(BaseModel):
    """PUT and PATCH: only the fields that were sent are set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = ""
    description: Description | None = None
    config: JsonObject = Field(default_factory=dict)
    enabled: StrictBool = True

    def sent(self) -> dict[str, Any]:
        """Return the fields to set. Raises SecretRefused, naming each place that looks like a credential."""
        fields = {name: getattr(self, name) for name in SETTABLE if name in self.model_fields_set}
        every = (path for name, value in fields.items() for path in secrets.find(value, path=name))
        found = [named([path]) for path in islice(every, MOST_PROBLEMS)]
        if found:
            raise errors.SecretRefused(
                f"Credentials are never stored; send them to verify instead. Remove: {', '.join(found)}",
                errors=[{"field": path, "message": "looks like a credential"} for path in found],
            )
        return fields


SETTABLE = ("name", "description", "config", "enabled")


class CreateBody(ConfigureBody):
    """POST: a connection of a type that is turned on."""

    type: str


# Any one of these sets of keys makes credentials of a shape that CONTRACT's section 2 knows.
CREDENTIAL_SHAPES = (
    frozenset({"api_token"}),
    frozenset({"api_key"}),
    frozenset({"username", "password"}),
    frozenset({"access_token"}),
    frozenset({"client_id", "client_secret"}),
)


class VerifyBody(BaseModel):
    """Passed through sealed and stored nowhere; `config` is another name of `settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    credentials: dict[str, str | int | float | bool | None] = Field(default_factory=dict, repr=False)
    settings: JsonObject = Field(default_factory=dict, validation_alias=AliasChoices("settings", "config"), repr=False)

    @model_validator(mode="after")
    def _known_shape(self) -> Self:
        given = {key for key, value in self.credentials.items() if value not in (None, "")}
        if self.credentials and not any(shape <= given for shape in CREDENTIAL_SHAPES):
            shapes = "; ".join(" and ".join(sorted(shape)) for shape in CREDENTIAL_SHAPES)
            raise ValueError(f"credentials must have one of: {shapes}")
        return self


class SyncBody(BaseModel):
    """Empty, or `force` to replace what runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: StrictBool = False


class OperationView(BaseModel):
    """An operation as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    origin: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_attempt_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    started_at: datetime | None
    deadline_at: datetime | None
    documents_processed: int | None


class ConnectionView(BaseModel):
    """A connection as the API shows it: every column of CONTRACT's section 1 but `deleted_at`, and what runs."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    organization_id: UUID
    type: str
    name: str
    description: str | None
    config: dict[str, Any]
    status: str
    last_sync_status: str | None
    latest_options: dict[str, Any] | None
    enabled: bool
    last_verification_at: datetime | None
    last_verification_error: str | None
    last_sync_at: datetime | None
    last_sync_error: str | None
    created_by: UUID
    updated_by: UUID
    created_at: datetime
    updated_at: datetime
    operation: OperationView | None = None

    @classmethod
    def of(cls, case: Case) -> ConnectionView:
        """Return the view of a case."""
        view = cls.model_validate(case.connection)
        running = case.running()
        view.operation = OperationView.model_validate(running) if running else None
        return view
