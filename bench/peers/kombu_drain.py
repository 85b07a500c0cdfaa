"""The limit: a kombu consumer that takes each message off the queue and does nothing else."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from kombu import Connection, Consumer, Queue

QUEUE = Queue("data_source_status", exchange="", routing_key="data_source_status", durable=True)


def drain(url: str, *, count: int) -> float:
    """Take so many messages; return the seconds from the first to the last."""
    times: list[float] = []

    def take(message: Any) -> None:
        message.ack()
        times.append(time.monotonic())

    with (
        Connection(url) as connection,
        Consumer(connection.channel(), [QUEUE], on_message=take, prefetch_count=2_000, auto_declare=False),
    ):
        while len(times) < count:
            connection.drain_events(timeout=30)
    return times[-1] - times[0]


if __name__ == "__main__":
    print(f"peer ready. {drain(os.environ['RABBITMQ_URL'], count=int(os.environ['BENCH_MESSAGES']))}")
    # Until it is asked to end: one that has ended by itself looks like one that failed.
    signal.pause()
