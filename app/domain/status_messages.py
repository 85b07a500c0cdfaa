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

from app.domain import envelopes, json_decoding, texts, timestamps

# The largest honest message is a list of options; a queue full of larger ones would fill the worker's memory.
MAX_BODY_BYTES = 256 * 1024
# Error texts are shown to people; what is longer is a stack trace.
MAX_ERROR_TEXT_LENGTH = 4_000

# Of what is wrong with a message: it is logged, and goes into a header of the dead letter.
MAX_REFUSAL_DETAIL_LENGTH = 500

# A clock that says less was never set; one that is further ahead would make what is true look late until then.
EARLIEST_TIMESTAMP, MAX_CLOCK_AHEAD = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1)

# Every reason for which a message may become a dead letter; the runbook says what to do about each.
REFUSAL_REASONS = (
    "not_json", "wrong_shape", "unknown_type", "enveloped", "too_large", "undecodable", "unknown_connection",
    "tenant_mismatch", "unknown_operation", "impossible_time", "apply_failed",
)  # fmt: skip


class MessageRefused(Exception):
    """The message cannot be applied; `reason` is a stable slug, the text says more. Neither repeats the body.

    Names of its keys the text may hold, which are its author's to choose: it is cut where a log is no place for more.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = texts.truncate(detail, max_length=MAX_REFUSAL_DETAIL_LENGTH)
        super().__init__(self.detail)


Options = dict[str, str | list[str]]
_OPTION_VALUES_DESCRIPTION = "comma-separated strings or arrays of strings"
# The same as a message says it: None under each name where no choice stands; False where it is no object at all.
_RawOptions = dict[str, str | list[str] | None] | Literal[False]


def _is_empty_value(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, list | dict) and not value)


def _error_text(value: Any) -> str:
    """Return what a person reads of an error that may be more than a text."""
    text = value if isinstance(value, str) else pydantic_core.to_json(value).decode()
    return texts.truncate(texts.replace_nul_characters(text), max_length=MAX_ERROR_TEXT_LENGTH)


def _parse_options(value: Any) -> _RawOptions:
    """Return what there is to choose from, whole; `require_readable_options` says whether it is read."""
    if not isinstance(value, dict):
        return False
    given = {key: each for key, each in value.items() if not _is_empty_value(each)}
    return {texts.replace_nul_characters(key): _parse_option_value(each) for key, each in given.items()}


def _parse_option_value(value: Any) -> str | list[str] | None:
    if isinstance(value, str):
        return texts.replace_nul_characters(value)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value if name is not None):
        return None
    return [texts.replace_nul_characters(name) for name in value if not _is_empty_value(name)]


ErrorText = Annotated[str, PlainValidator(_error_text), WithJsonSchema({"type": "string"})]
Timestamp = Annotated[datetime, BeforeValidator(timestamps.parse_timestamp)]
# An id that a language's empty value stands for is none.
OperationId = Annotated[UUID | None, AfterValidator(lambda named: named if named and named.int else None)]
OPTIONS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}


class _BaseReport(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    connection_id: UUID = Field(description="As the webhook said it.")
    tenant_id: UUID = Field(description="As the webhook said it; a connection of another tenant is not touched.")
    operation_id: OperationId = Field(
        None, description="As the webhook said it; left out where nobody asked. Without it order is guessed at."
    )


_TRIGGER_BY_SYNC_STATUS = {"sync_started": "started", "sync_completed": "succeeded", "sync_failed": "failed"}


class SyncReport(_BaseReport):
    """How a sync goes. `timestamp` is the service's own clock."""

    kind: ClassVar[str] = "sync"
    status: Literal["sync_started", "sync_completed", "sync_failed"] = Field(
        description="`sync_started` again, with a later timestamp, is progress."
    )
    error_message: ErrorText | None = Field(None, description="Why it failed, in words for people.")
    documents_processed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Documents done so far."
    )
    timestamp: Timestamp | None = Field(
        None, description="When this happened, by the service's clock; compared with the service's other messages only."
    )

    @property
    def trigger(self) -> str:
        """What this report does to an operation."""
        return _TRIGGER_BY_SYNC_STATUS[self.status]

    @property
    def error(self) -> str | None:
        """What a person is told."""
        if self.status != "sync_failed":
            return None
        return self.error_message or "The external service reported a failure without a reason"


class VerificationReport(_BaseReport):
    """What the source said of the credentials."""

    kind: ClassVar[str] = "verify"
    # What a verification has no word of.
    timestamp: ClassVar[None] = None
    documents_processed: ClassVar[None] = None

    status: Literal["success", "failed"] = Field(description="Whether the source accepts the credentials.")
    raw_options: Annotated[_RawOptions, PlainValidator(_parse_options), WithJsonSchema(OPTIONS_SCHEMA)] | None = Field(
        None,
        alias="options",
        description="What a person may choose from, by name: a comma-separated string, or an array of strings where a "
        "name holds a comma; null when failed.",
    )
    error_message: ErrorText | None = Field(
        None, alias="error", description="Why it failed, in words for people; null after a success."
    )

    @property
    def trigger(self) -> str:
        """What this report does to an operation."""
        return "succeeded" if self.status == "success" else "failed"

    @property
    def options(self) -> Options | None:
        """What a person may choose from, by name; None if there is nothing."""
        return {name: offered for name, offered in (self.raw_options or {}).items() if offered} or None

    @property
    def error(self) -> str | None:
        """What a person is told."""
        if self.status == "success":
            return None
        return self.error_message or "The external service rejected the credentials without a reason"


Report = SyncReport | VerificationReport


def has_plausible_timestamp(report: Report, *, now: datetime) -> bool:
    """Tell whether a clock that is set can have said when this happened."""
    return report.timestamp is None or EARLIEST_TIMESTAMP <= report.timestamp <= now + MAX_CLOCK_AHEAD


def implausible_timestamp_refusal() -> MessageRefused:
    """Return why a report without a possible time is refused."""
    detail = "timestamp is before the year 2000 or more than a day ahead; a number counts from 1970"
    return MessageRefused("impossible_time", detail)


def require_readable_options(report: Report, *, options_key: str | None) -> None:
    """Raise MessageRefused (`wrong_shape`) if no choice stands where a person is to choose.

    `options_key` is the name that the connection's type reads; where there is none, nothing is read.
    """
    if options_key is None or not isinstance(report, VerificationReport) or report.raw_options is None:
        return
    if report.raw_options is False:
        raise MessageRefused("wrong_shape", f"options: must be an object of {_OPTION_VALUES_DESCRIPTION}, by name")
    if report.raw_options.get(options_key, "") is None:
        raise MessageRefused("wrong_shape", f"options.{options_key}: must be one of {_OPTION_VALUES_DESCRIPTION}")


# By the word in `type`.
REPORT_MODELS_BY_TYPE: dict[str, type[Report]] = {"sync": SyncReport, "verification": VerificationReport}
_OLD_DIALECT_SYNC_STATUS = {"started": "sync_started", "completed": "sync_completed", "failed": "sync_failed"}
_FIELDS_BY_TYPE = {kind: model.model_fields.items() for kind, model in REPORT_MODELS_BY_TYPE.items()}
_KEYS_BY_TYPE = {kind: {each.alias or name for name, each in fields} for kind, fields in _FIELDS_BY_TYPE.items()}


def _translate_old_dialect(body: Mapping[str, Any], *, queue: str) -> dict[str, Any]:
    """Translate a body without `type`: both kinds say `failed`, so the keys and then the queue tell them apart."""
    if "options" in body or body.get("status") == "success" or "verification" in queue:
        return {**body, "type": "verification"}
    status = body.get("status")
    translated = _OLD_DIALECT_SYNC_STATUS.get(status, status) if isinstance(status, str) else status
    return {**body, "type": "sync", "status": translated}


def _relevant_fields(body: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
    """Return what a body says to a model's keys, and of that what is read with its status.

    Absent, null and empty are one, and so are `error` and `error_message`: of a failure alone, as options are of a
    success alone.
    """
    said = {key: value for key in _KEYS_BY_TYPE[kind] if not _is_empty_value(value := body.get(key))}
    own, other = ("error", "error_message") if kind == "verification" else ("error_message", "error")
    said.pop(own, None)
    if said.get("status") in ("failed", "sync_failed"):
        said.pop("options", None)
        reasons = (body.get(own), body.get(other))
        said[own] = next((each for each in reasons if each is not False and not _is_empty_value(each)), None)
    return said


def body_bytes(body: Any) -> bytes:
    """Return a raw message's body as it is kept: bytes as they came, text in UTF-8, whatever else it may be as JSON.

    RabbitMQ brings bytes; in the envelope of kombu's Redis transport may stand any JSON, half a surrogate pair, too.
    """
    if isinstance(body, str):
        return body.encode(errors="surrogatepass")
    return bytes(body) if isinstance(body, bytes | memoryview) else json.dumps(body).encode()


def decode_body(body: Any) -> str:
    """Return a raw message's body as text: JSON between systems is UTF-8 (RFC 8259, section 8.1).

    Raises MessageRefused. Reasons: `too_large`, `not_json`.
    """
    if not isinstance(body, str | bytes | memoryview):
        raise MessageRefused("not_json", "not text")
    if len(body) > MAX_BODY_BYTES:
        raise MessageRefused("too_large", f"longer than {MAX_BODY_BYTES} bytes")
    try:
        return body_bytes(body).decode()
    except UnicodeError:
        hint = json_decoding.hint_for_undecodable_bytes(body_bytes(body))
        raise MessageRefused("not_json", f"not UTF-8 but {hint}" if hint else "not UTF-8") from None


def parse_report(text: str, *, queue_name: str) -> Report:
    """Return the report that the text of a message holds. Raises MessageRefused.

    Reasons: `not_json`, `wrong_shape`, `unknown_type`, `enveloped`.
    """
    try:
        decoded = json_decoding.decode_json(text)
    except ValueError as invalid:
        raise MessageRefused("not_json", str(invalid)) from None
    try:
        return _validate_report(decoded, queue_name=queue_name)
    except MessageRefused:
        advice = envelopes.unwrapping_advice(decoded)
        if advice is None:
            raise
        raise MessageRefused("enveloped", advice) from None


def _validate_report(decoded: Any, *, queue_name: str) -> Report:
    if not isinstance(decoded, dict):
        raise MessageRefused("wrong_shape", "not a JSON object")
    if _is_empty_value(decoded.get("type")):
        decoded = _translate_old_dialect(decoded, queue=queue_name)
    kind = decoded["type"]
    model = REPORT_MODELS_BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise MessageRefused("unknown_type", f"type must be one of {', '.join(REPORT_MODELS_BY_TYPE)}")
    try:
        return model.model_validate(_relevant_fields(decoded, kind=kind))
    except ValidationError as invalid:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_input=False)[:5])
        raise MessageRefused("wrong_shape", "; ".join(wrong)) from None
