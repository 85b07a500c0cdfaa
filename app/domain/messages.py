"""Status messages of the external service: from raw bytes to a typed report, or a reason why not.

The shapes are CONTRACT's section 5. What can be read is taken: absent, null and empty are one, and what nobody reads
harms nothing. What is read must fit, for what does not is kept for a person in the dead-letter queue rather than
guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)

from app.domain import decoding, envelopes, moments, texts

# The largest honest message is a list of options; a queue full of larger ones would fill the worker's memory.
LONGEST_BODY = 256 * 1024
# Error texts are shown to people; what is longer is a stack trace.
LONGEST_TEXT = 4_000

# Of what is wrong with a message: it is logged, and goes into a header of the dead letter.
LONGEST_DETAIL = 500

# A clock that says less was never set; one that is further ahead would make what is true look late until then.
EARLIEST, AHEAD = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1)

# Every reason for which a message may become a dead letter; the runbook says what to do about each.
REASONS = (
    "not_json", "wrong_shape", "unknown_type", "enveloped", "too_large", "undecodable", "unknown_connection",
    "tenant_mismatch", "unknown_operation", "impossible_time", "apply_failed",
)  # fmt: skip


class Unacceptable(Exception):
    """The message cannot be applied; `reason` is a stable slug, the text says more. Neither repeats the body.

    Names of its keys the text may hold, which are its author's to choose: it is cut where a log is no place for more.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = texts.cut(detail, longest=LONGEST_DETAIL)
        super().__init__(self.detail)


Options = dict[str, str | list[str]]
_CHOICES = "comma-separated strings or arrays of strings"
# The same as a message says it: None under each name where no choice stands; False where it is no object at all.
_SaidOptions = dict[str, str | list[str] | None] | Literal[False]


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, list | dict) and not value)


def _words(value: Any) -> str:
    """Return what a person reads of an error that may be more than a text."""
    text = value if isinstance(value, str) else pydantic_core.to_json(value).decode()
    return texts.cut(texts.storable(text), longest=LONGEST_TEXT)


def _options(value: Any) -> _SaidOptions:
    """Return what there is to choose from, whole; whether it is read depends on the type, see `require_choices`."""
    if not isinstance(value, dict):
        return False
    return {texts.storable(key): _offered(each) for key, each in value.items() if not _is_empty(each)}


def _offered(value: Any) -> str | list[str] | None:
    if isinstance(value, str):
        return texts.storable(value)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value if name is not None):
        return None
    return [texts.storable(name) for name in value if not _is_empty(name)]


Text = Annotated[str, PlainValidator(_words), WithJsonSchema({"type": "string"})]
Moment = Annotated[datetime, BeforeValidator(moments.read)]
# An id that a language's empty value stands for is none.
OperationId = Annotated[UUID | None, AfterValidator(lambda named: named if named and named.int else None)]
OPTIONS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    connection_id: UUID = Field(description="As the webhook said it.")
    tenant_id: UUID = Field(description="As the webhook said it; a connection of another tenant is not touched.")
    operation_id: OperationId = Field(
        None, description="As the webhook said it; left out where nobody asked. Without it order is guessed at."
    )


_TRIGGERS = {"sync_started": "started", "sync_completed": "succeeded", "sync_failed": "failed"}


class SyncReport(_Report):
    """How a sync goes. `timestamp` is the service's own clock."""

    kind: ClassVar[str] = "sync"
    status: Literal["sync_started", "sync_completed", "sync_failed"] = Field(
        description="`sync_started` again, with a later timestamp, is progress."
    )
    error_message: Text | None = Field(None, description="Why it failed, in words for people.")
    documents_processed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Documents done so far."
    )
    timestamp: Moment | None = Field(
        None, description="When this happened, by the service's clock; compared with the service's other messages only."
    )

    @property
    def trigger(self) -> str:
        """What this report does to an operation."""
        return _TRIGGERS[self.status]

    @property
    def error(self) -> str | None:
        """What a person is told."""
        if self.status != "sync_failed":
            return None
        return self.error_message or "The external service reported a failure without a reason"


class VerificationReport(_Report):
    """What the source said of the credentials."""

    kind: ClassVar[str] = "verify"
    # What a verification has no word of.
    timestamp: ClassVar[None] = None
    documents_processed: ClassVar[None] = None

    status: Literal["success", "failed"] = Field(description="Whether the source accepts the credentials.")
    said_options: Annotated[_SaidOptions, PlainValidator(_options), WithJsonSchema(OPTIONS_SCHEMA)] | None = Field(
        None,
        alias="options",
        description="What a person may choose from, by name: a comma-separated string, or an array of strings where a "
        "name holds a comma; null when failed.",
    )
    error_message: Text | None = Field(
        None, alias="error", description="Why it failed, in words for people; null after a success."
    )

    @property
    def trigger(self) -> str:
        """What this report does to an operation."""
        return "succeeded" if self.status == "success" else "failed"

    @property
    def options(self) -> Options | None:
        """What a person may choose from, by name; None if there is nothing."""
        return {name: offered for name, offered in (self.said_options or {}).items() if offered} or None

    @property
    def error(self) -> str | None:
        """What a person is told."""
        if self.status == "success":
            return None
        return self.error_message or "The external service rejected the credentials without a reason"


Report = SyncReport | VerificationReport


def has_possible_time(report: Report, *, now: datetime) -> bool:
    """Tell whether a clock that is set can have said when this happened."""
    return report.timestamp is None or EARLIEST <= report.timestamp <= now + AHEAD


def impossible_time() -> Unacceptable:
    """Return why a report without a possible time is refused."""
    return Unacceptable(
        "impossible_time", "timestamp is before the year 2000 or more than a day ahead; a number counts from 1970"
    )


def require_choices(report: Report, *, options_key: str | None) -> None:
    """Raise Unacceptable (`wrong_shape`) if no choice stands where a person is to choose.

    `options_key` is the name that the connection's type reads; where there is none, nothing is read.
    """
    if options_key is None or not isinstance(report, VerificationReport) or report.said_options is None:
        return
    if report.said_options is False:
        raise Unacceptable("wrong_shape", f"options: must be an object of {_CHOICES}, by name")
    if report.said_options.get(options_key, "") is None:
        raise Unacceptable("wrong_shape", f"options.{options_key}: must be one of {_CHOICES}")


# By the word in `type`.
MODELS: dict[str, type[SyncReport | VerificationReport]] = {"sync": SyncReport, "verification": VerificationReport}
_OLD_SYNC = {"started": "sync_started", "completed": "sync_completed", "failed": "sync_failed"}


_KEYS = {
    kind: frozenset(field.alias or name for name, field in model.model_fields.items()) for kind, model in MODELS.items()
}


def _from_old_dialect(body: Mapping[str, Any], *, queue: str) -> dict[str, Any]:
    """Translate a body without `type`: both kinds say `failed`, so the keys and then the queue tell them apart."""
    if "options" in body or body.get("status") == "success" or "verification" in queue:
        return {**body, "type": "verification"}
    status = body.get("status")
    return {**body, "type": "sync", "status": _OLD_SYNC.get(status, status) if isinstance(status, str) else status}


def _said(body: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
    """Return what a body says to a model's keys, and of that what is read with its status.

    Absent, null and empty are one, and so are `error` and `error_message`: of a failure alone, as options are of a
    success alone.
    """
    said = {key: value for key in _KEYS[kind] if not _is_empty(value := body.get(key))}
    own, other = ("error", "error_message") if kind == "verification" else ("error_message", "error")
    said.pop(own, None)
    if said.get("status") in ("failed", "sync_failed"):
        said.pop("options", None)
        reasons = (reason for key in (own, other) if (reason := body.get(key)) is not False and not _is_empty(reason))
        said[own] = next(reasons, None)
    return said


def raw_of(body: Any) -> bytes:
    """Return a raw message's body as it is kept: bytes as they came, text in UTF-8, whatever else it may be as JSON.

    RabbitMQ brings bytes; in the envelope of kombu's Redis transport may stand any JSON, half a surrogate pair, too.
    """
    if isinstance(body, str):
        return body.encode(errors="surrogatepass")
    return bytes(body) if isinstance(body, bytes | memoryview) else json.dumps(body).encode()


def text_of(body: Any) -> str:
    """Return a raw message's body as text: JSON between systems is UTF-8 (RFC 8259, section 8.1). Raises Unacceptable.

    Reasons: `too_large`, `not_json`.
    """
    if not isinstance(body, str | bytes | memoryview):
        raise Unacceptable("not_json", "not text")
    if len(body) > LONGEST_BODY:
        raise Unacceptable("too_large", f"longer than {LONGEST_BODY} bytes")
    try:
        return raw_of(body).decode()
    except UnicodeError:
        hint = decoding.hint_of_bytes(raw_of(body))
        raise Unacceptable("not_json", f"not UTF-8 but {hint}" if hint else "not UTF-8") from None


def parse(text: str, *, queue: str) -> Report:
    """Return the report that the text of a message holds. Raises Unacceptable.

    Reasons: `not_json`, `wrong_shape`, `unknown_type`, `enveloped`.
    """
    try:
        decoded = decoding.decode(text)
    except ValueError as invalid:
        raise Unacceptable("not_json", str(invalid)) from None
    try:
        return _report(decoded, queue=queue)
    except Unacceptable:
        advice = envelopes.advice_for(decoded)
        if advice is None:
            raise
        raise Unacceptable("enveloped", advice) from None


def _report(decoded: Any, *, queue: str) -> Report:
    if not isinstance(decoded, dict):
        raise Unacceptable("wrong_shape", "not a JSON object")
    if _is_empty(decoded.get("type")):
        decoded = _from_old_dialect(decoded, queue=queue)
    kind = decoded["type"]
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Unacceptable("unknown_type", f"type must be one of {', '.join(MODELS)}")
    try:
        return model.model_validate(_said(decoded, kind=kind))
    except ValidationError as invalid:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_input=False)[:5])
        raise Unacceptable("wrong_shape", "; ".join(wrong)) from None
