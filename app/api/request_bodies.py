"""What the API takes, as the models that validate it."""

from __future__ import annotations

import re
from functools import partial
from itertools import chain, islice
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
from app.api.request_handling import MAX_BODY_CONTAINERS, MAX_REPORTED_PROBLEMS, field_path_text
from app.domain import credential_detection
from app.domain.json_values import jsonb_number_text

# All names of the largest message with options can be chosen.
MAX_CONFIG_BYTES = 256 * 1024
MAX_JSON_DEPTH = 20
# Beyond this, other JSON readers lose digits or refuse (RFC 8259, section 6).
MAX_JSON_NUMBER = 2**63 - 1

# The validators below in the words of JSON Schema, as far as it has words for them; OpenAPI's readers see these.
NO_NUL_PATTERN = r"^[^\u0000]*$"
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) with the controls and the blank of Braille: a name
# of nothing else shows nothing. The few beyond the first plane stay out, for whose pairs not all readers have words.
_INVISIBLE_CHARACTERS = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
NOT_BLANK_PATTERN = rf"^[^\u0000]*[^\s{_INVISIBLE_CHARACTERS}][^\u0000]*$"
_VISIBLE_CHARACTER_PATTERN = re.compile(
    rf"[^\s{_INVISIBLE_CHARACTERS}\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Not recursive, as any JSON is: generators of clients leave out the calls that take such a body.
JSON_OBJECT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"pattern": NO_NUL_PATTERN},
    "additionalProperties": {
        "description": "Any JSON that PostgreSQL can hold: without NUL characters and numbers beyond 64 bits, at most"
        f" {MAX_JSON_DEPTH} levels deep, {MAX_BODY_CONTAINERS} arrays and objects and {MAX_CONFIG_BYTES // 1024} KiB in"
        " all."
    },
}


def _require_no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _require_storable(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON can say but PostgreSQL or a reader of the row cannot hold."""
    longer_when_stored = _stored_size_increase(value)
    if len(pydantic_core.to_json(value)) + longer_when_stored > MAX_CONFIG_BYTES:
        what = f"{MAX_CONFIG_BYTES} bytes of JSON, its numbers written without exponents"
        raise ValueError(f"must be no longer than {what}")
    return value


def _stored_size_increase(value: dict[str, Any]) -> int:
    """Return how many bytes longer than its shortest JSON a value will be when it is stored."""
    increase, level = 0, [value]
    for _ in range(MAX_JSON_DEPTH):
        inner: list[Any] = []
        for each in level:
            increase += _check_and_unfold(each, inner)
        if not inner:
            return increase
        level = inner
    raise ValueError(f"must not be nested deeper than {MAX_JSON_DEPTH} levels")


def _check_and_unfold(value: Any, inner: list[Any]) -> int:
    """Check one value, add what it holds to `inner`, and return how many bytes longer it will be itself.

    There may be a hundred thousand, and nobody else has a turn meanwhile.
    """
    kind = type(value)
    if kind is list:
        inner += value
    elif kind is dict:
        for key in value:
            _require_no_nul(key)
        inner += value.values()
    elif kind is str:
        _require_no_nul(value)
    elif kind is int or kind is float:
        if not -MAX_JSON_NUMBER - 1 <= value <= MAX_JSON_NUMBER:
            raise ValueError("must not contain NaN, Infinity or numbers beyond 64 bits")
        if kind is float and "e" in (shortest := repr(value)):
            return max(0, len(jsonb_number_text(value)) - len(shortest))
    return 0


def _require_not_blank(text: str) -> str:
    if not _VISIBLE_CHARACTER_PATTERN.search(text):
        raise ValueError("must not be blank")
    return text.strip()


ConnectionName = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": NOT_BLANK_PATTERN}),
    AfterValidator(_require_no_nul),
    AfterValidator(_require_not_blank),
]
ConnectionDescription = Annotated[
    str, Field(max_length=2_000, json_schema_extra={"pattern": NO_NUL_PATTERN}), AfterValidator(_require_no_nul)
]
StorableJsonObject = Annotated[dict[str, Any], AfterValidator(_require_storable), WithJsonSchema(JSON_OBJECT_SCHEMA)]


def _remove_schema_defaults(schema: dict[str, Any]) -> None:
    """Leave out what a model says of fields that were not sent: they keep what they are."""
    for field in schema["properties"].values():
        field.pop("default", None)


class _RequestBody(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _limit_keys(cls, content: Any) -> Any:
        """Refuse thousands of keys at once: to name what is wrong with each takes a tenth of a second."""
        if isinstance(content, dict) and len(content) > MAX_REPORTED_PROBLEMS:
            raise ValueError(f"must not have more than {MAX_REPORTED_PROBLEMS} keys")
        return content


class ConfigureBody(_RequestBody):
    """Only the fields that were sent are set. None may hold a credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_remove_schema_defaults)

    name: ConnectionName = Field(default="", examples=["Wiki of the engineers"])
    description: ConnectionDescription | None = None
    config: StorableJsonObject = Field(
        default_factory=dict,
        description="The provider's settings, as a whole: what is there is replaced.",
        examples=[{"spaces": "ENG,PROD"}],
    )
    enabled: StrictBool = Field(
        default=True, description="Only an admin or owner may send false. PUT without it enables."
    )

    def checked_fields(self, *, on_progress: credential_detection.ProgressCallback = lambda _: None) -> dict[str, Any]:
        """Return the fields to set. Raises SecretRefused, naming each place that looks like a credential.

        `on_progress` as in `find_credentials`.
        """
        fields = {name: getattr(self, name) for name in SETTABLE_FIELDS if name in self.model_fields_set}
        find = partial(credential_detection.find_credentials, on_progress=on_progress)
        paths = chain.from_iterable(find(value, path=name) for name, value in fields.items())
        found = [field_path_text([path]) for path in islice(paths, MAX_REPORTED_PROBLEMS)]
        if found:
            message = f"Credentials are never stored; send them to verify instead. Remove: {', '.join(found)}"
            problems = [{"field": path, "message": "looks like a credential"} for path in found]
            raise errors.SecretRefused(message, errors=problems)
        return fields


SETTABLE_FIELDS = ("name", "description", "config", "enabled")


class CreateBody(ConfigureBody):
    """A connection of a type that is turned on."""

    type: str = Field(examples=["jira"])


# Any one of these sets of keys makes credentials of a shape that CONTRACT's section 2 knows.
CREDENTIAL_SHAPES: tuple[set[str], ...] = (
    {"api_token"}, {"api_key"}, {"username", "password"}, {"access_token"}, {"client_id", "client_secret"},
)  # fmt: skip


def _document_config_alias(schema: dict[str, Any]) -> None:
    """Say that `config` is another name of `settings`, which the model's alias does not."""
    example = {name: schema["properties"][name]["examples"][0] for name in ("credentials", "settings")}
    schema["examples"] = [example]
    alias = {"description": "Another name of `settings`.", "deprecated": True}
    schema["properties"]["config"] = JSON_OBJECT_SCHEMA | alias
    schema["dependentSchemas"] = {"config": {"not": {"required": ["settings"]}}}


# The largest shape has five. What is wrong with each is found out before anything is said of any.
MAX_CREDENTIAL_FIELDS = 100


def _limit_credential_fields(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MAX_CREDENTIAL_FIELDS:
        raise ValueError(f"must not be more than {MAX_CREDENTIAL_FIELDS}")
    return value


_NOT_EMPTY_SCHEMA = {"type": ["string", "number", "boolean"], "minLength": 1}


def _shape_schema(keys: set[str]) -> dict[str, Any]:
    return {"required": sorted(keys), "properties": dict.fromkeys(sorted(keys), _NOT_EMPTY_SCHEMA)}


_SHAPE_SCHEMAS: list[dict[str, Any]] = [{"maxProperties": 0}, *map(_shape_schema, CREDENTIAL_SHAPES)]
_CREDENTIALS_SCHEMA: dict[str, Any] = {"maxProperties": MAX_CREDENTIAL_FIELDS, "anyOf": _SHAPE_SCHEMAS}


class VerifyBody(_RequestBody):
    """Passed through sealed and stored nowhere."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        json_schema_extra=_document_config_alias,
    )

    credentials: Annotated[dict[str, str | int | float | bool | None], BeforeValidator(_limit_credential_fields)] = (
        Field(
            default_factory=dict,
            repr=False,
            description="Of one of the shapes that the external service knows; empty for types that need none.",
            examples=[{"url": "https://acme.atlassian.net", "email": "ada@acme.example", "api_token": "the-token"}],
            json_schema_extra=_CREDENTIALS_SCHEMA,
        )
    )
    settings: StorableJsonObject = Field(
        default_factory=dict,
        repr=False,
        validation_alias=AliasChoices("settings", "config"),
        description="The provider's settings to verify with; they are not kept.",
        examples=[{"spaces": "ENG"}],
    )

    @model_validator(mode="after")
    def _require_known_credential_shape(self) -> Self:
        given = {key for key, value in self.credentials.items() if value not in (None, "")}
        if self.credentials and not any(shape <= given for shape in CREDENTIAL_SHAPES):
            shapes = "; ".join(" and ".join(sorted(shape)) for shape in CREDENTIAL_SHAPES)
            raise ValueError(f"credentials must have one of: {shapes}")
        return self


class SyncBody(_RequestBody):
    """Nothing, or whether to take the place of what runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: StrictBool = Field(default=False, description="Take the place of whatever runs on this connection.")
