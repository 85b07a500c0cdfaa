"""How soon a request becomes a webhook, and how many webhooks a second one worker delivers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter, methodcaller
from urllib.parse import urlsplit

from bench import broker, tables
from bench.http import offer
from bench.measures.press import QUEUES, requests
from bench.processor_time import machine_without
from bench.results import Measure, Row, Target, at_least, at_most, compared, percentile
from bench.stage import Stage
from devstack.child import StartError, wait_until

RATE = 200
# At half the rate, and delivered before it counts: what follows shows whether the rate can be held, not what the first
# presses wait for, which find every connection and every statement new.
WARM_UP = 200
ALL_WITHIN = timedelta(minutes=3)
PEER = "a stock Celery task with requests.post and autoretry_for"
# With its dispatcher, which is a part of every delivery that goes wrong.
LINES, THEIRS = ("web", "webhook_worker", "beat"), ("plain_web", "celery_webhook")
# What a real receiver needs, over a real network.
ANSWER_SECONDS = 0.1


@dataclass(frozen=True)
class Size:
    """So many presses at a steady rate, and so many that wait when the worker starts."""

    presses: int
    backlog: int


@dataclass(frozen=True)
class Steady:
    """Each webhook's delay in milliseconds, webhooks a second, and what one took of all processors, in milliseconds."""

    delays: list[float]
    rate: float
    processor_time: float

    def delay(self, share: float) -> float:
        """Return what this share of the delays does not exceed."""
        return percentile(self.delays, share)


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with a stock Celery task."""
    measured = stage.quiet.measured
    ours, theirs, waiting_ours, waiting_theirs = [], [], [], []
    for _ in range(repeat):
        ours.append(measured(at_steady_rate, stage, size, lines=LINES))
        theirs.append(measured(at_steady_rate, stage, size, lines=THEIRS))
        waiting_ours.append(measured(_backlog, stage, size, lines=LINES))
        waiting_theirs.append(measured(_backlog, stage, size, lines=THEIRS))
    return [
        *steady_rows(ours, PEER, theirs),
        compared(
            f"webhooks at {RATE} requests/s",
            "webhooks/s",
            attrgetter("rate"),
            ours,
            PEER,
            theirs,
            ratio_target=at_least(0.9),
        ),
        Row(
            f"webhooks from a full queue, answered after {ANSWER_SECONDS * 1000:.0f} ms",
            "webhooks/s",
            waiting_ours,
            PEER,
            waiting_theirs,
            ratio_target=at_least(0.9),
        ),
    ]


def steady_rows(
    ours: Sequence[Steady], peer: str, theirs: Sequence[Steady], *, processor_target: Target | None = None
) -> list[Row]:
    """Return what is told of requests at a steady rate, beside a peer or an earlier release."""
    return [
        *[
            compared(
                f"request to webhook at {RATE}/s, {name}",
                "ms",
                methodcaller("delay", share),
                ours,
                peer,
                theirs,
                target=target,
            )
            for name, share, target in (("p50", 0.5, None), ("p95", 0.95, at_most(100)))
        ],
        compared(
            "a request with its webhook, time of all processors",
            "ms",
            attrgetter("processor_time"),
            ours,
            peer,
            theirs,
            ratio_target=processor_target,
        ),
    ]


def at_steady_rate(stage: Stage, size: Size, *, lines: tuple[str, ...]) -> Steady:
    """Request syncs at a steady rate, after a warm-up."""
    presses = WARM_UP + size.presses
    _clear(stage, connections=presses)
    with stage.running("receiver", *lines) as children:
        offer(stage.http, requests(stage, range(WARM_UP)), rate=RATE / 2)
        _arrivals(stage, WARM_UP)
        measured = requests(stage, range(WARM_UP, presses))
        with machine_without(children["receiver"]) as used:
            calls = offer(stage.http, measured, rate=RATE)
            arrived = _arrivals(stage, presses)[WARM_UP:]
    delays = [(arrived[call.number] - call.due) * 1000 for call in calls]
    return Steady(delays, _rate(arrived), used.seconds / size.presses * 1000)


def _backlog(stage: Stage, size: Size, *, lines: tuple[str, ...]) -> float:
    """Press while no worker runs, then start it; return the webhooks a second."""
    _clear(stage, connections=size.backlog)
    with stage.running("receiver", lines[0], BENCH_ANSWER_SECONDS=str(ANSWER_SECONDS)):
        offer(stage.http, requests(stage, range(size.backlog)), rate=RATE)
        with stage.running(lines[1]):
            return _rate(_arrivals(stage, size.backlog))


def _clear(stage: Stage, *, connections: int) -> None:
    tables.fill(stage, connections=connections)
    broker.purge(stage.amqp, *QUEUES)


def _rate(arrived: list[float]) -> float:
    return (len(arrived) - 1) / (max(arrived) - min(arrived))


def _arrivals(stage: Stage, count: int) -> list[float]:
    """Return when the first webhook of each connection came, in the order of their numbers, once all have."""
    arrived: dict[str, float] = {}
    url = f"http://{urlsplit(stage.environ['AUTOMATION_WEBHOOK_URL']).netloc}/"

    def all_came() -> bool:
        nonlocal arrived
        with urllib.request.urlopen(url, timeout=10) as answer:
            arrived = json.load(answer)
        return len(arrived) == count

    if not wait_until(all_came, within=ALL_WITHIN):
        raise StartError(f"only {len(arrived)} of {count} webhooks came")
    return [arrived[str(tables.connection(number))] for number in range(count)]


MEASURE = Measure(
    "webhooks",
    "A sync request: from the click to the webhook",
    {"tiny": Size(20, 20), "quick": Size(1_000, 500), "full": Size(3_000, 2_000)},
    run,
)
