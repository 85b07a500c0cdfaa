"""What the API takes, as the models that validate it."""

from __future__ import annotations

import re
from itertools import islice
from typing import Annotated, Any, Self

import pydantic_core
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

from app import errors
from app.api.requests import MOST_PROBLEMS, named
from app.domain import secrets
from app.domain.json_values import written_out

# All names of the largest message with options can be chosen.
LARGEST_CONFIG = 256 * 1024
DEEPEST_JSON = 20
# Beyond this, other JSON readers lose digits or refuse (RFC 8259, section 6).
LARGEST_NUMBER = 2**63 - 1

# The validators below in the words of JSON Schema, as far as it has words for them; OpenAPI's readers see these.
NO_NUL = r"^[^\u0000]*$"
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) with the controls and the blank of Braille: a name
# of nothing else shows nothing. The few beyond the first plane stay out, for whose pairs not all readers have words.
_UNSEEN = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
NOT_BLANK = rf"^[^\u0000]*[^\s{_UNSEEN}][^\u0000]*$"
_IS_SEEN = re.compile(rf"[^\s{_UNSEEN}\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")
# Not recursive, as any JSON is: generators of clients leave out the calls that take such a body.
JSON_OBJECT: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"pattern": NO_NUL},
    "additionalProperties": {
        "description": "Any JSON that PostgreSQL can hold: without NUL characters and numbers beyond 64 bits, at most"
        f" {DEEPEST_JSON} levels deep and {LARGEST_CONFIG // 1024} KiB in all."
    },
}


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON can say but PostgreSQL or a reader of the row cannot hold."""
    longer_when_stored = _check_json(value, depth=1)
    if len(pydantic_core.to_json(value)) + longer_when_stored > LARGEST_CONFIG:
        raise ValueError(
            f"must be no longer than {LARGEST_CONFIG} bytes of JSON, its numbers written without exponents"
        )
    return value


def _check_json(value: Any, *, depth: int) -> int:
    """Return how many bytes longer than its shortest JSON a value will be when it is stored."""
    if depth > DEEPEST_JSON:
        raise ValueError(f"must not be nested deeper than {DEEPEST_JSON} levels")
    if isinstance(value, dict):
        for key in value:
            _storable(key)
        return sum(_check_json(inner, depth=depth + 1) for inner in value.values())
    if isinstance(value, list):
        return sum(_check_json(inner, depth=depth + 1) for inner in value)
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, int | float) and not -LARGEST_NUMBER - 1 <= value <= LARGEST_NUMBER:
        raise ValueError("must not contain NaN, Infinity or numbers beyond 64 bits")
    if not isinstance(value, float):
        return 0
    return max(0, len(written_out(value)) - len(repr(value)))


def _not_blank(text: str) -> str:
    if not _IS_SEEN.search(text):
        raise ValueError("must not be blank")
    return text.strip()


Name = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": NOT_BLANK}),
    AfterValidator(_storable),
    AfterValidator(_not_blank),
]
Description = Annotated[str, Field(max_length=2_000, json_schema_extra={"pattern": NO_NUL}), AfterValidator(_storable)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object), WithJsonSchema(JSON_OBJECT)]


def _without_defaults(schema: dict[str, Any]) -> None:
    """Leave out what a model says of fields that were not sent: they keep what they are."""
    for field in schema["properties"].values():
        field.pop("default", None)


class ConfigureBody(BaseModel):
    """Only the fields that were sent are set. None may hold a credential."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra=_without_defaults,
    )

    name: Name = Field(default="", examples=["Wiki of the engineers"])
    description: Description | None = None
    config: JsonObject = Field(
        default_factory=dict,
        description="The provider's settings, as a whole: what is there is replaced.",
        examples=[{"spaces": "ENG,PROD"}],
    )
    enabled: StrictBool = Field(
        default=True, description="Only an admin or owner may send false. PUT without it enables."
    )

    def sent(self, *, rest: secrets.Rest = lambda _: None) -> dict[str, Any]:
        """Return the fields to set. Raises SecretRefused, naming each place that looks like a credential.

        `rest` as in `secrets.find`.
        """
        fields = {name: getattr(self, name) for name in SETTABLE if name in self.model_fields_set}
        every = (path for name, value in fields.items() for path in secrets.find(value, path=name, rest=rest))
        found = [named([path]) for path in islice(every, MOST_PROBLEMS)]
        if found:
            raise errors.SecretRefused(
                f"Credentials are never stored; send them to verify instead. Remove: {', '.join(found)}",
                errors=[{"field": path, "message": "looks like a credential"} for path in found],
            )
        return fields


SETTABLE = ("name", "description", "config", "enabled")


class CreateBody(ConfigureBody):
    """A connection of a type that is turned on."""

    type: str = Field(examples=["jira"])


# Any one of these sets of keys makes credentials of a shape that CONTRACT's section 2 knows.
CREDENTIAL_SHAPES = (
    frozenset({"api_token"}),
    frozenset({"api_key"}),
    frozenset({"username", "password"}),
    frozenset({"access_token"}),
    frozenset({"client_id", "client_secret"}),
)


def _either_name(schema: dict[str, Any]) -> None:
    """Say that `config` is another name of `settings`, which the model's alias does not."""
    example = {name: schema["properties"][name]["examples"][0] for name in ("credentials", "settings")}
    schema["examples"] = [example]
    schema["properties"]["config"] = JSON_OBJECT | {"description": "Another name of `settings`.", "deprecated": True}
    schema["dependentSchemas"] = {"config": {"not": {"required": ["settings"]}}}


# The largest shape has five. What is wrong with each is found out before anything is said of any.
MOST_CREDENTIALS = 100


def _few(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MOST_CREDENTIALS:
        raise ValueError(f"must not be more than {MOST_CREDENTIALS}")
    return value


_GIVEN = {"type": ["string", "number", "boolean"], "minLength": 1}
_CREDENTIALS_SCHEMA: dict[str, Any] = {
    "maxProperties": MOST_CREDENTIALS,
    "anyOf": [
        {"maxProperties": 0},
        *(
            {"required": sorted(shape), "properties": dict.fromkeys(sorted(shape), _GIVEN)}
            for shape in CREDENTIAL_SHAPES
        ),
    ],
}


class VerifyBody(BaseModel):
    """Passed through sealed and stored nowhere."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        json_schema_extra=_either_name,
    )

    credentials: Annotated[dict[str, str | int | float | bool | None], BeforeValidator(_few)] = Field(
        default_factory=dict,
        repr=False,
        description="Of one of the shapes that the external service knows; empty for types that need none.",
        examples=[{"url": "https://acme.atlassian.net", "email": "ada@acme.example", "api_token": "the-token"}],
        json_schema_extra=_CREDENTIALS_SCHEMA,
    )
    settings: JsonObject = Field(
        default_factory=dict,
        repr=False,
        validation_alias=AliasChoices("settings", "config"),
        description="The provider's settings to verify with; they are not kept.",
        examples=[{"spaces": "ENG"}],
    )

    @model_validator(mode="after")
    def _known_shape(self) -> Self:
        given = {key for key, value in self.credentials.items() if value not in (None, "")}
        if self.credentials and not any(shape <= given for shape in CREDENTIAL_SHAPES):
            shapes = "; ".join(" and ".join(sorted(shape)) for shape in CREDENTIAL_SHAPES)
            raise ValueError(f"credentials must have one of: {shapes}")
        return self


class SyncBody(BaseModel):
    """Nothing, or whether to take the place of what runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: StrictBool = Field(default=False, description="Take the place of whatever runs on this connection.")
