"""The measures, in the order of the table."""

from __future__ import annotations

from bench.measures import ingest, latency, press, reads, webhooks
from bench.results import Measure

ALL: tuple[Measure, ...] = (ingest.MEASURE, latency.MEASURE, webhooks.MEASURE, press.MEASURE, reads.MEASURE)
