"""How long a status message takes from the queue to a browser's event stream."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from operator import attrgetter, methodcaller
from statistics import median
from typing import Any

from bench import broker, tables
from bench.processor_time import machine_without
from bench.results import Measure, Row, Target, at_most, compared, percentile
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


@dataclass(frozen=True)
class Delays:
    """Milliseconds of each message, in the order of sending, and what one took of all processors, in milliseconds."""

    delays: list[float]
    processor_time: float

    def delay(self, share: float) -> float:
        """Return what this share of the delays does not exceed, in most slices."""
        return _of_most_slices(self.delays, share)


LINES, THEIRS, PEER = (
    ("web", "worker"),
    ("flask_sse_web", "kombu_status"),
    "a plain kombu consumer with stock flask-sse",
)


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with a plain consumer that publishes to stock flask-sse."""
    measured = stage.quiet.measured
    rows = []
    for rate in RATES:
        ours, theirs = [], []
        for _ in range(repeat):
            ours.append(measured(at_rate, stage, size, rate=rate, lines=LINES))
            theirs.append(measured(at_rate, stage, size, rate=rate, lines=THEIRS))
        rows += rate_rows(rate, ours, PEER, theirs, ratio_target=at_most(1) if rate == max(RATES) else None)
    return rows


def rate_rows(
    rate: int,
    ours: Sequence[Delays],
    peer: str,
    theirs: Sequence[Delays],
    *,
    ratio_target: Target | None = None,
    processor_target: Target | None = None,
) -> list[Row]:
    """Return what is told of messages at one rate, beside a peer or an earlier release."""
    return [
        *[
            compared(
                f"queue to browser at {rate}/s, {name}",
                "ms",
                methodcaller("delay", share),
                ours,
                peer,
                theirs,
                target=at_most(50) if is_held else None,
                ratio_target=ratio_target if is_held else None,
            )
            for name, share, is_held in (("p50", 0.5, False), ("p99", 0.99, True))
        ],
        compared(
            f"a message at {rate}/s, time of all processors",
            "ms",
            attrgetter("processor_time"),
            ours,
            peer,
            theirs,
            ratio_target=processor_target,
        ),
    ]


def _of_most_slices(values: list[float], share: float) -> float:
    """Return the median of what each slice of the values, in the order in which they were sent, does not exceed."""
    bounds = [len(values) * number // SLICES for number in range(SLICES + 1)]
    return median(percentile(values[first:end], share) for first, end in pairwise(bounds))


def at_rate(stage: Stage, size: Size, *, rate: int, lines: tuple[str, str]) -> Delays:
    """Send messages at a steady rate while browsers listen; return what the ones after the warm-up took."""
    tables.fill(stage, connections=CONNECTIONS)
    sent: dict[int, float] = {}
    came: dict[int, float] = {}

    def got(event: bytes, moment: float) -> None:
        for tick in TICK.findall(event):
            came.setdefault(int(tick), moment)

    organizations = {tables.organization(number) for number in range(CONNECTIONS)}
    with stage.running(*lines), watching(stage, organizations, got, line=lines[0]), machine_without() as used:
        count = WARM_UP + int(rate * size.seconds)
        _send(stage, count, rate=rate, sent=sent)
        if not wait_until(lambda: len(came) == count, within=LAST_WITHIN):
            raise StartError(f"only {len(came)} of {count} messages reached a browser")
    delays = [(came[tick] - sent[tick]) * 1000 for tick in sent if tick > WARM_UP]
    return Delays(delays, used.seconds / count * 1000)


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
