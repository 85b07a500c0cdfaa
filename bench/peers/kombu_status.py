"""A plain kombu consumer of the external service's queue: one message, one transaction, one acknowledgement."""

from __future__ import annotations

import json
import os
from typing import Any

from kombu import Connection, Consumer, Queue
from kombu.mixins import ConsumerMixin

from bench.peers import status_work

QUEUE = Queue("data_source_status", exchange="", routing_key="data_source_status", durable=True)


class StatusConsumer(ConsumerMixin):
    """Applies each message as it comes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_consumers(self, _consumer: Any, channel: Any) -> list[Consumer]:
        """Consume the one queue; so many ahead that the broker never waits for us."""
        return [Consumer(channel, [QUEUE], on_message=self.on_message, prefetch_count=100, auto_declare=False)]

    def on_consume_ready(self, *_: Any, **__: Any) -> None:
        """Say so."""
        print("peer ready.")

    def on_message(self, message: Any) -> None:
        """Apply, then acknowledge."""
        status_work.apply(json.loads(message.body))
        message.ack()


if __name__ == "__main__":
    with Connection(os.environ["RABBITMQ_URL"], heartbeat=10) as connection:
        StatusConsumer(connection).run()  # type: ignore[no-untyped-call]
