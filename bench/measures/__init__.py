"""The measures, in the order of the table."""

from __future__ import annotations

from bench.measures import growth, ingest, latency, press, queues, reads, start, stream, webhooks
from bench.results import Measure

ALL: tuple[Measure, ...] = (
    ingest.MEASURE,
    queues.MEASURE,
    latency.MEASURE,
    webhooks.MEASURE,
    press.MEASURE,
    stream.MEASURE,
    reads.MEASURE,
    growth.MEASURE,
    start.MEASURE,
)
