"""The envelopes that frameworks put around a message, and what to set so that they do not. Pure.

Nothing is taken out of an envelope: what stands beside the message there (a command's name, a schema, a retry count) is
a contract of its own, and a message is what its author has published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What no message can do without; whatever holds these is one.
_REQUIRED_MESSAGE_KEYS = frozenset({"connection_id", "tenant_id"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """One framework's: the keys by which it is known, the one that holds the message, and what its author can do."""

    name: str
    keys: frozenset[str]
    message_key: str
    advice: str


KNOWN_ENVELOPES = (
    Envelope(
        "NestJS", frozenset({"pattern", "data"}), "data",
        "give ClientProxy a serializer that returns packet.data, or publish with amqplib",
    ),
    Envelope(
        "CloudEvents", frozenset({"specversion", "source"}), "data",
        "publish in binary mode, which puts the event's attributes into headers",
    ),
    Envelope("MassTransit", frozenset({"messageType", "message"}), "message", "call UseRawJsonSerializer()"),
    Envelope("Celery", frozenset({"task", "args"}), "args", "publish with kombu's Producer or pika, not send_task()"),
    Envelope("Amazon SNS", frozenset({"Type", "TopicArn"}), "Message", "turn on raw message delivery"),
    Envelope("Amazon EventBridge", frozenset({"detail-type", "detail"}), "detail", "forward $.detail alone"),
    Envelope("Laravel", frozenset({"job", "data"}), "data", "publish with php-amqplib, not as a job"),
    Envelope("Kafka Connect", frozenset({"schema", "payload"}), "payload", "set schemas.enable=false"),
)  # fmt: skip


def unwrapping_advice(decoded: Any) -> str | None:
    """Return what to tell the author of a body that is no message, if it is an envelope around one."""
    if isinstance(decoded, str):
        return "encoded twice: a text of JSON inside JSON; encode once" if "connection_id" in decoded else None
    if isinstance(decoded, list):
        if any(isinstance(item, dict) and "callbacks" in item for item in decoded):
            return "the envelope of Celery: publish with kombu's Producer or pika, not send_task()"
        return "an array: publish each message by itself" if any(map(_looks_like_message, decoded)) else None
    if not isinstance(decoded, dict) or decoded.keys() >= _REQUIRED_MESSAGE_KEYS:
        return None
    for known in KNOWN_ENVELOPES:
        if decoded.keys() >= known.keys:
            return f"the envelope of {known.name}: publish what is in `{known.message_key}` alone; {known.advice}"
    wrapped = next((key for key in _COMMON_WRAPPER_KEYS if _looks_like_message(decoded.get(key))), None)
    return wrapped and f"an envelope: publish what is in `{wrapped}` alone"


# Of those that are nobody's in particular. Only these are named in an answer: any other key may be a secret.
_COMMON_WRAPPER_KEYS = (
    "data", "payload", "body", "message", "event", "detail", "content", "params", "attributes", "record", "value",
)  # fmt: skip


def _looks_like_message(value: Any) -> bool:
    if isinstance(value, str):
        return "connection_id" in value
    return isinstance(value, Mapping) and value.keys() >= _REQUIRED_MESSAGE_KEYS
