"""How many status messages a second are applied from a quorum queue, beside a classic one of the same broker."""

from __future__ import annotations

import time

from bench import broker
from bench.measures import ingest
from bench.results import Measure, Row, at_least
from bench.stage import Stage
from tasks.monitored_consumer import DELETED_QUEUE_PAUSE_SECONDS


def run(stage: Stage, size: ingest.Size, repeat: int) -> list[Row]:
    """Compare the two types of queue, in turns."""
    quorum: list[float] = []
    classic: list[float] = []
    for _ in range(repeat):
        for queue_type, found in (("classic", classic), ("quorum", quorum)):
            found.append(stage.quiet.measured(_rate, stage, size, queue_type))
    what = "status messages applied from a quorum queue"
    return [Row(what, "messages/s", quorum, "from a classic queue", classic, ratio_target=at_least(0.8))]


def _rate(stage: Stage, size: ingest.Size, queue_type: str) -> float:
    try:
        return ingest.rate(stage, size, line="worker", queue_type=queue_type)
    finally:
        broker.delete_queue(stage.amqp)
        time.sleep(DELETED_QUEUE_PAUSE_SECONDS)


MEASURE = Measure("queues", "Status messages: from a quorum queue and from a classic one", ingest.MEASURE.sizes, run)
