"""The external service's end of the broker, from CONTRACT's section 5 alone: plain AMQP, no line of Rita's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

STATUS = "data_source_status"
DEAD = "data_source_status.dead"
REASON = "x-rita-reason"
# In seconds: for the next confirm.
CONFIRMED_WITHIN = 30
QUEUES = (STATUS, DEAD, "webhooks", "verifications", "housekeeping")


def body_of(message: Any) -> bytes:
    """Return a message's body as it was on the wire."""
    # The library's body of no bytes at all is a text.
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


@contextmanager
def channel(url: str) -> Iterator[Any]:
    """Open a channel of its own connection, whose publishes wait for the broker's word."""
    parts = urlsplit(url)
    with amqp.Connection(
        f"{parts.hostname}:{parts.port or 5672}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        confirm_publish=True,
        connect_timeout=5,
        read_timeout=10,
    ) as connection:
        opened = connection.channel()
        # Bytes as they are on the wire, whatever their content encoding claims.
        opened.auto_decode = False
        yield opened


class Service:
    """Publishes raw messages, and looks into queues."""

    def __init__(self, url: str, *, queue: str = STATUS) -> None:
        self.url = url
        self.queue = queue

    def declare(self) -> None:
        """Declare the queue as the service does: durable and nothing else."""
        with channel(self.url) as opened:
            opened.queue_declare(self.queue, durable=True, auto_delete=False)

    def send(self, *messages: Mapping[str, Any]) -> None:
        self.send_raw(*[json.dumps(message, ensure_ascii=False) for message in messages])

    def send_raw(self, *bodies: str | bytes, headers: Mapping[str, Any] | None = None, **properties: Any) -> None:
        """Publish bodies as they are, to the default exchange."""
        properties = {"content_type": "application/json", "delivery_mode": 2} | properties
        given = {key: value for key, value in properties.items() if value is not None}
        with channel(self.url) as opened:
            for body in bodies:
                message = amqp.Message(body, application_headers=dict(headers or {}), **given)
                opened.basic_publish(message, routing_key=self.queue)

    def publish(self, body: str, *, exchange: str, key: str) -> None:
        """Publish to an exchange other than the default one."""
        with channel(self.url) as opened:
            opened.exchange_declare(exchange, "direct", durable=True, auto_delete=False)
            opened.basic_publish(amqp.Message(body), exchange=exchange, routing_key=key)

    def flood(self, messages: list[Mapping[str, Any]]) -> None:
        """Publish many without waiting for the broker's confirm of each; return when it has confirmed all."""
        unconfirmed = set(range(1, len(messages) + 1))
        oldest = 1

        def on_ack(delivery_tag: int, multiple: bool) -> None:  # noqa: FBT001 - amqp's signature
            nonlocal oldest
            if multiple:
                unconfirmed.difference_update(range(oldest, delivery_tag + 1))
                oldest = delivery_tag + 1
            else:
                unconfirmed.discard(delivery_tag)

        def on_nack(delivery_tag: int, multiple: bool) -> None:  # noqa: FBT001 - amqp's signature
            raise AssertionError(f"the broker refused message {delivery_tag}{' and those before it' * multiple}")

        with channel(self.url) as opened:
            opened.confirm_select()
            opened.events["basic_ack"].add(on_ack)
            opened.events["basic_nack"].add(on_nack)
            for message in messages:
                prepared = amqp.Message(json.dumps(message), content_type="application/json", delivery_mode=2)
                opened._basic_publish(prepared, routing_key=self.queue)  # noqa: SLF001 - the one that does not wait
            while unconfirmed:
                opened.connection.drain_events(timeout=CONFIRMED_WITHIN)

    def waiting(self, queue: str | None = None) -> int:
        """Return how many messages a queue holds ready; 0 if there is no such queue."""
        with channel(self.url) as opened:
            try:
                return int(opened.queue_declare(queue or self.queue, passive=True).message_count)
            except amqp.NotFound:
                return 0

    def exists(self) -> bool:
        with channel(self.url) as opened:
            try:
                return bool(opened.queue_declare(self.queue, passive=True).queue)
            except amqp.NotFound:
                return False

    def consumers(self, queue: str | None = None) -> int:
        with channel(self.url) as opened:
            return int(opened.queue_declare(queue or self.queue, passive=True).consumer_count)

    def look(self, queue: str = DEAD) -> list[Any]:
        """Return the messages of a queue, oldest first, and leave it with the same ones in the same order.

        Each goes in again as a new one before it is taken off: what is only given back, a quorum queue counts and, in
        the end, deletes.
        """
        with channel(self.url) as opened:
            found = []
            try:
                while (message := opened.basic_get(queue)) is not None:
                    found.append(message)
            except amqp.NotFound:
                return []
            for message in found:
                opened.basic_publish(amqp.Message(body_of(message), **message.properties), routing_key=queue)
                opened.basic_ack(message.delivery_tag)
        return found

    def reasons(self) -> list[str]:
        """Return why each dead letter died, oldest first."""
        return [message.headers[REASON] for message in self.look()]

    def delete(self, *queues: str) -> None:
        with channel(self.url) as opened:
            for queue in queues:
                opened.queue_delete(queue)

    def purge(self, *queues: str) -> None:
        for queue in queues:
            with channel(self.url) as opened:
                try:
                    opened.queue_purge(queue)
                except amqp.NotFound:
                    continue
