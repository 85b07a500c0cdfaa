"""What a sync costs in the request: commit and enqueue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench import broker, tables
from bench.http import Call, offer, request_bytes
from bench.results import Measure, Row, at_most, percentile
from bench.stage import Stage

RATE = 100
QUEUES = ("webhooks", "bench_webhooks", "housekeeping")
# The first presses find everything cold.
WARM_UP = 50


@dataclass(frozen=True)
class Size:
    """So many presses, each of another connection."""

    presses: int


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with the same endpoint without operation and audit."""
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(stage.quiet.measured(_press, stage, size, line="web"))
        theirs.append(stage.quiet.measured(_press, stage, size, line="plain_web"))
    return [
        Row(
            f"a sync's request at {RATE}/s, {name}",
            "ms",
            [percentile(values, share) for values in ours],
            "the same without operation and audit",
            [percentile(values, share) for values in theirs],
            target=target,
        )
        for name, share, target in (("p50", 0.5, None), ("p95", 0.95, at_most(12)))
    ]


def requests(stage: Stage, numbers: Sequence[int]) -> list[bytes]:
    """Return a press of each of these connections."""
    return [
        request_bytes(
            "POST",
            f"/api/data-sources/{tables.connection(number)}/sync",
            token=stage.token(tables.organization(number)),
            body=b"{}",
        )
        for number in numbers
    ]


def _press(stage: Stage, size: Size, *, line: str) -> list[float]:
    """Return the milliseconds of each request."""
    presses = WARM_UP + size.presses
    tables.fill(stage, connections=presses)
    broker.purge(stage.amqp, *QUEUES)
    with stage.running(line):
        calls: list[Call] = offer(stage.http, requests(stage, range(presses)), rate=RATE)
    broker.purge(stage.amqp, *QUEUES)
    return [call.seconds * 1000 for call in calls if call.number >= WARM_UP]


MEASURE = Measure(
    "press",
    "A sync request: what it costs the web process",
    {"tiny": Size(30), "quick": Size(500), "full": Size(2_000)},
    run,
)
