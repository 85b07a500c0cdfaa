"""The external service's end of the broker: raw messages, published as it publishes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import amqp

from bench import tables

STATUS = "data_source_status"
# The service's clock, of which only the order counts.
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def report(number: int, status: str, *, tick: int) -> dict[str, Any]:
    """Return a sync's message for connection `number`; `tick` is its place in time, and comes back in its event."""
    return {
        "type": "sync",
        "connection_id": str(tables.connection(number)),
        "tenant_id": str(tables.organization(number)),
        "status": status,
        "documents_processed": tick,
        "timestamp": (BEGAN + timedelta(milliseconds=tick)).isoformat(),
    }


@contextmanager
def channel(url: str) -> Iterator[Any]:
    """Open a channel of its own connection."""
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}"
    with amqp.Connection(host, userid=parts.username, password=parts.password, connect_timeout=5) as connection:
        yield connection.channel()


def publish(opened: Any, message: Mapping[str, Any]) -> None:
    """Publish one message, persistent."""
    body = json.dumps(message)
    opened.basic_publish(amqp.Message(body, content_type="application/json", delivery_mode=2), routing_key=STATUS)


def flood(url: str, messages: Iterable[Mapping[str, Any]], *, queue_type: str = "classic") -> None:
    """Put messages into an empty queue, and return when the broker has them all."""
    with channel(url) as opened:
        # Without an argument it is classic, as the service declares it.
        arguments = {} if queue_type == "classic" else {"x-queue-type": queue_type}
        opened.queue_declare(STATUS, durable=True, auto_delete=False, arguments=arguments)
        opened.queue_purge(STATUS)
        for message in messages:
            publish(opened, message)
        # An answer to this comes after all the others.
        opened.queue_declare(STATUS, passive=True)


def purge(url: str, *queues: str) -> None:
    """Empty queues that there may be."""
    for queue in queues:
        with channel(url) as opened, suppress(amqp.NotFound):
            opened.queue_purge(queue)


def delete_queue(url: str) -> None:
    """Delete the status queue, which the next contestant has of another type."""
    with channel(url) as opened:
        opened.queue_delete(STATUS)
