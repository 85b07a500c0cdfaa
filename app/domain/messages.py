"""Status messages of the external service: from raw bytes to a typed report, or a reason why not.

The shapes are CONTRACT's section 5. Unknown keys are ignored; everything else must fit, for what does not is kept for a
person in the dead-letter queue rather than guessed at.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

# The largest honest message is a list of options; a queue full of larger ones would fill the worker's memory.
LONGEST_BODY = 256 * 1024
# Error texts are shown to people; what is longer is a stack trace.
LONGEST_TEXT = 4_000

# A clock that says less was never set; one that is further ahead would make what is true look late until then.
EARLIEST, AHEAD = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1)

# Every reason for which a message may become a dead letter; the runbook says what to do about each.
REASONS = (
    "not_json", "wrong_shape", "unknown_type", "too_large", "undecodable", "unknown_connection", "tenant_mismatch",
    "unknown_operation", "impossible_time", "apply_failed",
)  # fmt: skip


class Unacceptable(Exception):
    """The message cannot be applied; `reason` is a stable slug, the text says more. Neither repeats the body."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _printable(text: str) -> str:
    # PostgreSQL stores no NUL.
    return text.replace("\x00", "\ufffd")[:LONGEST_TEXT]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is beyond the calendar") from None


Text = Annotated[str, AfterValidator(_printable)]
# A clock without a zone is taken to be UTC: reports are compared with each other only.
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    connection_id: UUID = Field(description="As the webhook said it.")
    tenant_id: UUID = Field(description="As the webhook said it; a connection of another tenant is not touched.")
    operation_id: UUID | None = Field(
        None, description="As the webhook said it; left out where nobody asked. Without it order is guessed at."
    )


_TRIGGERS = {"sync_started": "started", "sync_completed": "succeeded", "sync_failed": "failed"}


class SyncReport(_Report):
    """How a sync goes. `timestamp` is the service's own clock; only the old dialect may leave it out."""

    kind: ClassVar[str] = "sync"
    status: Literal["sync_started", "sync_completed", "sync_failed"] = Field(
        description="`sync_started` again, with a later timestamp, is progress."
    )
    error_message: Text | None = Field(None, description="Why it failed, in words for people.")
    documents_processed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Documents done so far."
    )
    timestamp: Moment | None = Field(
        description="When this happened, by the service's clock; compared with the service's other messages only."
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
    """What the source said of the credentials. `options` maps a name to a comma-separated list."""

    kind: ClassVar[str] = "verify"
    # What a verification has no word of.
    timestamp: ClassVar[None] = None
    documents_processed: ClassVar[None] = None

    status: Literal["success", "failed"] = Field(description="Whether the source accepts the credentials.")
    options: dict[Text, Text] | None = Field(
        description="What a person may choose from, by name, each a comma-separated string; null when failed."
    )
    error_message: Text | None = Field(
        alias="error", description="Why it failed, in words for people; null after a success."
    )

    @property
    def trigger(self) -> str:
        """What this report does to an operation."""
        return "succeeded" if self.status == "success" else "failed"

    @property
    def error(self) -> str | None:
        """What a person is told."""
        if self.status == "success":
            return None
        return self.error_message or "The external service rejected the credentials without a reason"


Report = SyncReport | VerificationReport


def require_possible_time(report: Report, *, now: datetime) -> None:
    """Raise Unacceptable (`impossible_time`) if no clock that is set can have said when this happened."""
    if report.timestamp is not None and not EARLIEST <= report.timestamp <= now + AHEAD:
        raise Unacceptable("impossible_time", "timestamp is before the year 2000 or more than a day ahead")


# By the word in `type`.
MODELS: dict[str, type[SyncReport | VerificationReport]] = {"sync": SyncReport, "verification": VerificationReport}
_OLD_SYNC = {"started": "sync_started", "completed": "sync_completed", "failed": "sync_failed"}


def _from_old_dialect(body: dict[str, Any], *, queue: str) -> dict[str, Any]:
    """Translate a body without `type`: both kinds say `failed`, so the keys and then the queue tell them apart."""
    is_verification = "options" in body or body.get("status") == "success" or "verification" in queue
    if is_verification:
        return {"options": None, "error": None, **body, "type": "verification"}
    status = body.get("status")
    return {
        "timestamp": None,
        "error_message": body.get("error"),
        **body,
        "type": "sync",
        "status": _OLD_SYNC.get(status, status) if isinstance(status, str) else status,
    }


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
        raise Unacceptable("not_json", "not UTF-8") from None


def parse(text: str, *, queue: str) -> Report:
    """Return the report that the text of a message holds. Raises Unacceptable.

    Reasons: `not_json`, `wrong_shape`, `unknown_type`.
    """
    try:
        decoded = pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as invalid:
        raise Unacceptable("not_json", str(invalid)) from None
    if not isinstance(decoded, dict):
        raise Unacceptable("wrong_shape", "not a JSON object")
    if "type" not in decoded:
        decoded = _from_old_dialect(decoded, queue=queue)
    kind = decoded["type"]
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Unacceptable("unknown_type", f"type must be one of {', '.join(MODELS)}")
    try:
        return model.model_validate(decoded)
    except ValidationError as invalid:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_input=False)[:5])
        raise Unacceptable("wrong_shape", "; ".join(wrong)) from None
