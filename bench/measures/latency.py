"""How long a status message takes from the queue to a browser's event stream."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from bench import broker, tables
from bench.results import Measure, Row, at_most, percentile
from bench.stage import Stage
from bench.streams import watching
from devstack.child import StartError, wait_until

TICK = re.compile(rb'"documentsProcessed": ?(\d+)')
RATES = (50, 300)
# Each is used again only after as many messages, 3.3 s at the higher rate: a process that the host holds up for longer
# would have its message of a connection applied after the next one, as late, or its event left out as overtaken.
CONNECTIONS = 1_000
LAST_WITHIN = timedelta(seconds=60)
# The first messages find everything cold.
WARM_UP = 40
# What shares a core with this machine comes and goes within a second or two, and is in the slowest hundredth of all
# that was sent meanwhile. So that is taken of each slice in time, and the slice in the middle counts.
SLICES = 5


@dataclass(frozen=True)
class Size:
    """So long at each rate."""

    seconds: float


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with a plain consumer that publishes to stock flask-sse."""
    measured = stage.quiet.measured
    rows = []
    for rate in RATES:
        ours, theirs = [], []
        for _ in range(repeat):
            ours.append(measured(_latencies, stage, size, rate=rate, lines=("web", "worker")))
            theirs.append(measured(_latencies, stage, size, rate=rate, lines=("flask_sse_web", "kombu_status")))
        rows += [
            _row(f"queue to browser at {rate}/s, p50", ours, theirs, share=0.5),
            _row(f"queue to browser at {rate}/s, p99", ours, theirs, share=0.99, is_held=True, rate=rate),
        ]
    return rows


def _row(
    what: str, ours: list[list[float]], theirs: list[list[float]], *, share: float, is_held: bool = False, rate: int = 0
) -> Row:
    return Row(
        what,
        "ms",
        [_of_most_slices(values, share) for values in ours],
        "a plain kombu consumer with stock flask-sse",
        [_of_most_slices(values, share) for values in theirs],
        target=at_most(50) if is_held else None,
        ratio_target=at_most(1) if is_held and rate == max(RATES) else None,
    )


def _of_most_slices(values: list[float], share: float) -> float:
    """Return the median of what each slice of the values, in the order in which they were sent, does not exceed."""
    bounds = [len(values) * number // SLICES for number in range(SLICES + 1)]
    return median(percentile(values[first:end], share) for first, end in pairwise(bounds))


def _latencies(stage: Stage, size: Size, *, rate: int, lines: tuple[str, str]) -> list[float]:
    """Return the milliseconds that each message took, in the order in which they were sent."""
    tables.fill(stage, connections=CONNECTIONS)
    sent: dict[int, float] = {}
    came: dict[int, float] = {}

    def got(event: bytes, moment: float) -> None:
        for tick in TICK.findall(event):
            came.setdefault(int(tick), moment)

    organizations = {tables.organization(number) for number in range(CONNECTIONS)}
    with stage.running(*lines), watching(stage, organizations, got, line=lines[0]):
        count = WARM_UP + int(rate * size.seconds)
        _send(stage, count, rate=rate, sent=sent)
        if not wait_until(lambda: len(came) == count, within=LAST_WITHIN):
            raise StartError(f"only {len(came)} of {count} messages reached a browser")
    return [(came[tick] - sent[tick]) * 1000 for tick in sent if tick > WARM_UP]


def _send(stage: Stage, count: int, *, rate: int, sent: dict[int, float]) -> None:
    with broker.channel(stage.amqp) as channel:
        began = time.monotonic()
        for message in _messages(count):
            tick = message["documents_processed"]
            time.sleep(max(0.0, began + tick / rate - time.monotonic()))
            sent[tick] = time.monotonic()
            broker.publish(channel, message)


def _messages(count: int) -> Iterator[dict[str, Any]]:
    for tick in range(1, count + 1):
        turn, number = divmod(tick - 1, CONNECTIONS)
        yield broker.report(number, "sync_completed" if turn % 2 else "sync_started", tick=tick)


MEASURE = Measure(
    "latency",
    "A status message: from the queue to a browser",
    {"tiny": Size(0.5), "quick": Size(5), "full": Size(12)},
    run,
)
