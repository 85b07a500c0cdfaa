"""The AsyncAPI 3.0 document: what goes over the broker and over the event stream, seen from Rita.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. The messages' schemas are handed in; names of queues,
headers and events are the constants that the code uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain import display, endings, status_messages
from app.outbound import broker, dead_letters, events

STATUS_QUEUE = "data_source_status"

REASONS = {
    "not_json": "The body is not JSON, or not UTF-8.",
    "wrong_shape": "A key is missing or does not fit.",
    "unknown_type": "`type` is neither `sync` nor `verification`.",
    "enveloped": "A framework's envelope around a message; the detail says which, and what to set.",
    "too_large": "Longer than 256 KiB.",
    "undecodable": "The broker's library could not read the message.",
    "unknown_connection": "There is no such connection.",
    "tenant_mismatch": "The connection belongs to another tenant.",
    "unknown_operation": "This connection has no such operation of this kind.",
    "impossible_time": "The timestamp is before the year 2000 or more than a day ahead.",
    "apply_failed": "Rita could not write it down; it can be replayed.",
}

_MOMENT = {"type": "string", "format": "date-time"}
_ID = {"type": "string", "format": "uuid"}

EVENT: dict[str, Any] = {
    "type": "object",
    "description": (
        "One change of one connection. `operation_id` stands in those of verifications and syncs;"
        " `last_sync_*` and `documentsProcessed` in those of syncs; `last_verification_*` and `latest_options` in those"
        " of verifications; `type`, `name`, `description`, `config`, `enabled` and `deleted` in all others."
    ),
    "properties": {
        "connectionId": _ID,
        "status": {"enum": ["idle", "verifying", "syncing"], "description": "What happens now."},
        "display": {
            "type": "object",
            "description": "What a person sees: one state, why, who must act, what to do next.",
            "properties": {
                "state": {"enum": list(display.STATES)},
                "reason": {"type": ["string", "null"]},
                "actor": {"enum": list(display.ACTORS)},
                "action": {"enum": list(display.ACTIONS)},
                "alternative": {"enum": list(display.ACTIONS)},
                "advice": {"type": ["string", "null"]},
                "note": {"type": ["string", "null"]},
                "ending": {"enum": [*endings.ENDINGS, None]},
            },
            "required": ["state", "reason", "actor", "action", "alternative", "advice", "note", "ending"],
        },
        "operation": {
            "type": ["object", "null"],
            "description": "How far the operation is that `status` speaks of; see `OperationView` in OpenAPI.",
        },
        "change": {"type": "string", "description": "What happened.", "examples": ["sync.succeeded"]},
        "timestamp": _MOMENT,
        "operation_id": _ID,
        "last_sync_status": {"enum": ["completed", "failed", None]},
        "last_sync_at": {"anyOf": [_MOMENT, {"type": "null"}]},
        "last_sync_error": {"type": ["string", "null"]},
        "last_sync_documents": {"type": ["integer", "null"]},
        "documentsProcessed": {"type": ["integer", "null"]},
        "last_verification_at": {"anyOf": [_MOMENT, {"type": "null"}]},
        "last_verification_error": {"type": ["string", "null"]},
        "latest_options": status_messages.OPTIONS_SCHEMA | {"type": ["object", "null"]},
        "type": {"type": "string"},
        "name": {"type": "string"},
        "description": {"type": ["string", "null"]},
        "config": {"type": "object"},
        "enabled": {"type": "boolean"},
        "version": {"type": "string", "description": "Of what can be configured: for `If-Match`."},
        "deleted": {"type": "boolean"},
    },
    "required": ["connectionId", "status", "display", "operation", "change", "timestamp"],
}
SNAPSHOT: dict[str, Any] = {
    "type": "object",
    "description": "Every connection as the API shows it: opens each stream that does not continue an earlier one.",
    "properties": {"data": {"type": "array", "items": {"type": "object"}}, "timestamp": _MOMENT},
    "required": ["data", "timestamp"],
}
DEAD_LETTER_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        dead_letters.REASON_HEADER: {
            "enum": list(REASONS),
            "description": " ".join(f"`{reason}`: {words}" for reason, words in REASONS.items()),
        },
        dead_letters.DETAIL_HEADER: {
            "type": "string",
            "maxLength": dead_letters.MAX_DETAIL_BYTES,
            "description": "The same for people.",
        },
        dead_letters.ORIGINAL_QUEUE_HEADER: {"type": "string", "description": "The queue that it came from."},
        dead_letters.DIED_AT_HEADER: _MOMENT,
    },
}
DEAD_LETTER_HEADERS["required"] = list(DEAD_LETTER_HEADERS["properties"])


ABOUT = """\
What the external service reports to Rita over RabbitMQ, where Rita puts what it cannot apply, and what Rita pushes to
browsers. The webhooks that start it are in docs/integration.md.
"""
STREAM = """\
Server-Sent Events (WHATWG HTML, section 9.2). Opened with the token, or from a browser with `?ticket=` from
POST /api/sse/tickets; `Last-Event-ID` continues an earlier stream.
"""


def document(schemas: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the document; `schemas` are the messages', by path."""
    named = {path.removeprefix("messages/").removesuffix(".json"): schema for path, schema in schemas.items()}
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    security = [{"$ref": _at("securitySchemes", "bearer")}]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Rita Data Sources", "version": "1.0.0", "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "rabbitmq.example.org:5671", "protocol": "amqps", "description": "`RABBITMQ_URL`"},
            "api": {"host": "rita.example.org", "protocol": "https", "security": security},
        },
        "channels": _channels(list(named)),
        "operations": {
            "hearStatus": _operation("receive", "status", "The answers to webhooks, and syncs that nobody asked for."),
            "buryMessage": _operation("send", "deadLetters", "A message that cannot be applied: body untouched."),
            "pushEvents": _operation("send", "events", "Every change of the organization's connections."),
        },
        "components": {
            "securitySchemes": {"bearer": bearer},
            "messages": {name: _status_message(name, schema) for name, schema in named.items()} | _OTHER_MESSAGES,
            "schemas": named,
        },
    }


_OTHER_MESSAGES: dict[str, Any] = {
    "dead_letter": {
        "name": "dead_letter",
        "title": "Dead letter",
        "summary": "A message as it came, with the reason why it could not be applied.",
        "headers": DEAD_LETTER_HEADERS,
        "payload": {"description": "Whatever came."},
    },
    "update": {"name": events.UPDATE_EVENT_NAME, "title": "A change, live", "payload": EVENT},
    "snapshot": {"name": events.SNAPSHOT_EVENT_NAME, "title": "Everything at once", "payload": SNAPSHOT},
}


def _channels(messages: list[str]) -> dict[str, Any]:
    letters = "What could not be applied, until replayed."
    return {
        "status": _queue(STATUS_QUEUE, messages, "Written by the external service, which declares it the same way."),
        "deadLetters": _queue(broker.DEAD_LETTER_QUEUE_NAME, ["dead_letter"], letters),
        "events": {
            "address": "/api/sse",
            "title": "The organization's event stream",
            "description": STREAM,
            "servers": [{"$ref": "#/servers/api"}],
            "messages": _messages(["update", "snapshot"]),
        },
    }


def _at(kind: str, name: str) -> str:
    return f"#/components/{kind}/{name}"


def _messages(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": _at("messages", name)} for name in names}


def _queue(name: str, messages: list[str], description: str) -> dict[str, Any]:
    # Durable and no argument: who declares it otherwise is refused.
    declared = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": name,
        "description": description,
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": _messages(messages),
        "bindings": {"amqp": {"is": "queue", "queue": declared, "bindingVersion": "0.3.0"}},
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _status_message(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": name,
        "title": schema["title"],
        "summary": schema["description"],
        "payload": {"$ref": _at("schemas", name)},
        "bindings": {"amqp": {"contentEncoding": "utf-8", "messageType": name, "bindingVersion": "0.3.0"}},
    }
    if schema.get("deprecated"):
        message["tags"] = [{"name": "deprecated", "description": "Understood, but do not start with it."}]
    return message
