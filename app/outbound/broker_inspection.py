"""What a client may learn of a broker without changing it: its queues, its alarms, what this user may do there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from amqp.exceptions import AccessRefused, NotFound, ResourceLocked

from app.outbound import broker
from app.outbound.broker import MAX_RETURNS_BEFORE_REPUBLISH, Connection, OutgoingMessage

# Of a policy or a declaration: what has the broker drop messages that it has confirmed.
DROPPING_POLICY_KEYS = (
    "max-length", "max-length-bytes", "message-ttl", "expires",
    "x-max-length", "x-max-length-bytes", "x-message-ttl", "x-expires",
)  # fmt: skip
# What bounds a queue besides: how often a message may come back, and what becomes of one more than there is room for.
LIMITING_POLICY_KEYS = ("delivery-limit", "overflow", "dead-letter-exchange", "single-active-consumer")
TIMEOUT_SECONDS = 5.0
_CURRENT_TYPE_PATTERN = re.compile(r"current is (?:the value )?'(\w+)'")


@dataclass(frozen=True, slots=True)
class QueueInspection:
    """A queue as the broker has it; what is None could not be learned, as `consumers` on Redis.

    `refusal` is what the broker says to our declaration of it: `is_forbidden` because this user may not configure it,
    else because it was declared otherwise.
    """

    messages: int | None = 0
    consumers: int | None = None
    type: str | None = None
    refusal: str = ""
    is_forbidden: bool = False
    is_there: bool = True


def inspect_queue(connection: Connection, name: str, *, arguments: Mapping[str, str] | None = None) -> QueueInspection:
    """Return what the broker has under a queue's name, without making it; a queue that is not there is empty."""
    counts_consumers = connection.transport.driver_type == "amqp"
    with connection.channel() as channel:
        try:
            seen = channel.queue_declare(queue=name, passive=True)
        except connection.channel_errors as problem:
            # No right to it, or somebody else's alone.
            if isinstance(problem, AccessRefused | ResourceLocked):
                return QueueInspection(messages=None, refusal=str(problem), is_forbidden=True)
            return QueueInspection(consumers=0 if counts_consumers else None, is_there=False)
    if not counts_consumers:
        return QueueInspection(seen.message_count)
    with connection.channel() as channel:
        try:
            broker.declare_durable_queue(channel, name, arguments=arguments)
        except connection.channel_errors as problem:
            forbidden = isinstance(problem, AccessRefused)
            kind = None if forbidden else _find_queue_type(connection, name)
            return QueueInspection(seen.message_count, seen.consumer_count, kind, str(problem), is_forbidden=forbidden)
    return QueueInspection(seen.message_count, seen.consumer_count, _find_queue_type(connection, name))


def _find_queue_type(connection: Connection, queue_name: str) -> str | None:
    """Declare an existing queue as a classic one: the broker agrees, or says what it is, or what else is different."""
    with connection.channel() as channel:
        try:
            broker.declare_durable_queue(channel, queue_name, arguments=broker.CLASSIC_QUEUE_ARGUMENTS)
        except connection.channel_errors as problem:
            said = str(problem)
            found = _CURRENT_TYPE_PATTERN.search(said)
            return found[1] if found and "'x-queue-type'" in said else None
    return "classic"


def test_publish(connection: Connection) -> str | None:
    """Publish to a queue of our own that goes with the connection, and to the exchange of jobs: None, or what fails.

    Confirmed, so that a broker in an alarm, which takes nothing, is found too.
    """
    if not broker.is_amqp(connection.default_channel):
        return None
    name = f"rita.doctor.{uuid4().hex[:8]}"
    try:
        with connection.channel() as channel:
            channel.queue_declare(queue=name, exclusive=True, auto_delete=True)
            queue: str | None = name
    except connection.channel_errors:
        # A user of few rights has none to make such a queue; then nothing is to arrive.
        queue = None
    for exchange, key in (("", queue or name), (broker.TASK_EXCHANGE_NAME, name)):
        try:
            with connection.channel() as channel:
                if queue and not exchange:
                    broker.publish_to_queue(channel, OutgoingMessage(key, b"", {}, {}))
                else:
                    message = channel.prepare_message(b"")
                    channel.basic_publish(message, exchange=exchange, routing_key=key, confirm_timeout=TIMEOUT_SECONDS)
        except TimeoutError:
            return "it confirms nothing: it is in an alarm (memory or disk), or frozen"
        except (*broker.BrokerError, OSError) as problem:
            # An exchange that nobody has made yet is no fault.
            if not isinstance(problem, NotFound):
                return str(problem) or type(problem).__name__
    return None


def fetch_queue_from_management(management_url: str, *, virtual_host: str, queue: str) -> dict[str, Any]:
    """Return what RabbitMQ's management page knows of a queue. Raises OSError, or ValueError for what is no JSON."""
    parts = urlsplit(management_url)
    base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    asked = Request(f"{base}/api/queues/{quote(virtual_host, safe='')}/{quote(queue, safe='')}")  # noqa: S310 - an http(s) URL by its type
    if parts.username:
        word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        asked.add_header("Authorization", f"Basic {base64.b64encode(word.encode()).decode()}")
    with urlopen(asked, timeout=TIMEOUT_SECONDS) as answered:  # noqa: S310 - as above
        found: dict[str, Any] = json.load(answered)
    return found


def message_dropping_rules(queue_description: Mapping[str, Any]) -> list[str]:
    """Return what of a queue's policy and arguments lets confirmed messages vanish."""
    rules = _policy_and_arguments(queue_description)
    said = [f"{name} {rules[name]}" for name in DROPPING_POLICY_KEYS if name in rules]
    returns = rules.get("x-delivery-limit", rules.get("delivery-limit"))
    # Without a limit of its own it is RabbitMQ 4's, which Rita stays below.
    if isinstance(returns, int) and 0 <= returns <= MAX_RETURNS_BEFORE_REPUBLISH:
        said.append(f"delivery-limit {returns} (Rita moves a message at its {MAX_RETURNS_BEFORE_REPUBLISH}th return)")
    return [*said, *(["auto-delete"] if queue_description.get("auto_delete") else [])]


def limiting_rules(queue_description: Mapping[str, Any]) -> list[str]:
    """Return what else a queue's policy and arguments say that bounds it."""
    rules = _policy_and_arguments(queue_description)
    return [f"{name} {rules[key]}" for name in LIMITING_POLICY_KEYS for key in (name, f"x-{name}") if key in rules]


def _policy_and_arguments(queue_description: Mapping[str, Any]) -> dict[str, Any]:
    policy = queue_description.get("effective_policy_definition") or {}
    return {**policy, **(queue_description.get("arguments") or {})}
