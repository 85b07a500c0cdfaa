"""What requests say outside of their bodies: the values that are allowed, and how the document describes them."""

from __future__ import annotations

import re
from typing import Any, Literal

from app import extensions
from app.services import connections, history

# A parameter as OpenAPI 3.1 writes it (section 4.8.12).
ParameterDocs = dict[str, Any]

# The filters whose values are the same on every installation.
ALLOWED_FILTER_VALUES = {"status": list(connections.STATUS_FILTERS), "enabled": ["true", "false"]}

# What a person looks at, and what a program may ask for at once.
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 20, 100
MAX_PAGE_MIB = history.MAX_PAGE_BYTES // 2**20

IDEMPOTENCY_KEY_PATTERN = re.compile("[!-~]{1,255}")

# As anybody writes a small one: longer digits are no number that this API has a use for.
_NUMBER_PATTERN = re.compile("0|[1-9][0-9]{0,8}")

_UUID_SCHEMA: dict[str, Any] = {"type": "string", "format": "uuid"}


def _parameter_docs(
    name: str, location: Literal["path", "query", "header"], schema: dict[str, Any], description: str
) -> ParameterDocs:
    content: ParameterDocs = {"name": name, "in": location, "description": description, "schema": schema}
    return content | ({"required": True} if location == "path" else {})


CONNECTION_ID_DOCS = _parameter_docs("connection_id", "path", _UUID_SCHEMA, "The connection's id.")
OPERATION_ID_DOCS = _parameter_docs("operation_id", "path", _UUID_SCHEMA, "The operation's id.")
_ABOUT_REQUEST_ID = (
    "Names the request in answer, logs and webhooks, if it is 1 to 128 of `A-Za-z0-9._:-`; else one is made."
)
REQUEST_ID_DOCS = _parameter_docs("X-Request-ID", "header", {"type": "string"}, _ABOUT_REQUEST_ID)
# How two people are kept from undoing each other's changes.
_ABOUT_IF_MATCH = (
    "The `ETag` that the change is based on: 412 if somebody has configured the connection since. It may be a list, "
    "`*`, or what a proxy made of it: weak (`W/`), or with the name of a compression behind it."
)
_VERSION_SCHEMA = {"type": "string", "examples": ['"0f1e2d3c4b5a6978"']}
IF_MATCH_DOCS = _parameter_docs("If-Match", "header", _VERSION_SCHEMA, _ABOUT_IF_MATCH)


def parse_number(text: str) -> int | None:
    """Return a parameter's number, which is read here alone: what is checked is what is used. None if it is none."""
    return int(text) if _NUMBER_PATTERN.fullmatch(text) else None


def id_or_type_docs() -> list[ParameterDocs]:
    """Describe the path of a call that takes a type's name, too."""
    either = {"anyOf": [_UUID_SCHEMA, {"type": "string", "enum": extensions.settings().source_types.offered_names}]}
    return [_parameter_docs("connection_id", "path", either, "The connection's id, or the name of a type.")]


def filter_docs() -> list[ParameterDocs]:
    """Describe the filters of the list."""
    types = {"type": "string", "enum": extensions.settings().source_types.offered_names}
    status = {"type": "string", "enum": ALLOWED_FILTER_VALUES["status"]}
    return [
        _parameter_docs(
            "status",
            "query",
            status,
            "What happens now (`idle`, `verifying`, `syncing`), or what an idle one is: `unconfigured` (never enabled "
            "nor verified), `pending` (enabled, never synced), `completed` or `failed` (by its last sync).",
        ),
        _parameter_docs("type", "query", types, "The types that this installation offers."),
        _parameter_docs("enabled", "query", {"type": "boolean"}, "Whether it may be synced."),
    ]


def last_event_id_docs() -> list[ParameterDocs]:
    """Describe the two ways to go on where an earlier stream ended."""
    text = {"type": "string", "examples": ["1763812800000-0"]}
    what = "The id of the last event that was seen: the stream begins with those after it."
    return [
        _parameter_docs("Last-Event-ID", "header", text, f"{what} A browser's EventSource sends it itself."),
        _parameter_docs("last_event_id", "query", text, f"{what} For a new EventSource with a new ticket."),
    ]


def idempotency_key_docs() -> list[ParameterDocs]:
    """Describe how a request can be repeated without being made twice."""
    text = {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY_PATTERN.pattern}$"}
    what = "Of the caller's making: a repeated request with the same key gets the answer of the first."
    return [_parameter_docs("Idempotency-Key", "header", text, what)]


def paging_docs() -> list[ParameterDocs]:
    """Describe how to read on."""
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE}
    return [
        _parameter_docs("before", "query", _UUID_SCHEMA, "The `next` of the page before this one."),
        _parameter_docs("limit", "query", limit, f"At most so many; a page ends earlier after {MAX_PAGE_MIB} MiB."),
    ]


def webhook_header_docs() -> list[ParameterDocs]:
    """Describe the headers of a webhook: Standard Webhooks 1.0."""
    signed = "Sent where `WEBHOOK_SIGNING_SECRET` is set"
    texts = {
        "webhook-id": f"{signed}: the operation's id, the same at every attempt.",
        "webhook-timestamp": f"{signed}: when this attempt was made, in seconds since 1970.",
        "webhook-signature": f"{signed}: `v1,` and the base64 HMAC-SHA256 of id, timestamp and body, joined by dots; "
        "one for each secret while it is rotated, a space between them.",
        "X-Request-ID": "The id of the request that asked for it.",
    }
    return [_parameter_docs(name, "header", {"type": "string"}, description) for name, description in texts.items()]
