"""What a browser's event stream costs a web process, and how soon an event reaches all of an organization."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from redis import Redis

from bench import tables
from bench.results import Measure, Row, at_least, at_most, compared, percentile
from bench.stage import Stage, memory_of
from bench.streams import subscriptions, watching
from devstack.child import StartError, wait_until

PEER = "stock flask-sse"
# So that a process's first requests, which load what all later ones share, are not put down to the clients.
WARM_UP = 20
PER_ORGANIZATION = 100
CAME_WITHIN = timedelta(seconds=30)
# Apart enough that one event is with everybody before the next.
PAUSE = 0.3


@dataclass(frozen=True)
class Size:
    """So many clients in all; so many of one organization, and of stock flask-sse; so many events to those."""

    clients: int
    audience: int
    events: int


@dataclass(frozen=True)
class Load:
    """What clients cost: KiB each, and connections to Redis in all."""

    clients: int
    memory: float
    redis_connections: int


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with stock flask-sse under the same server."""
    measured = stage.quiet.measured
    ours, theirs, our_delays, their_delays = [], [], [], []
    for _ in range(repeat):
        ours.append(measured(_load, stage, size.clients, line="web"))
        theirs.append(measured(_load, stage, size.audience, line="flask_sse_web"))
        our_delays.append(measured(_fan_out, stage, size, line="web"))
        their_delays.append(measured(_fan_out, stage, size, line="flask_sse_web"))
    peer = f"{PEER} with {size.audience:,} clients"
    return [
        Row(
            "streams open on one web process",
            "clients",
            [load.clients for load in ours],
            peer,
            [load.clients for load in theirs],
            target=at_least(size.clients),
        ),
        Row("memory", "KiB a client", [x.memory for x in ours], peer, [x.memory for x in theirs], target=at_most(25)),
        Row(
            "Redis connections of the process's streams",
            "connections",
            [load.redis_connections for load in ours],
            peer,
            [load.redis_connections for load in theirs],
            target=at_most(1),
        ),
        *[
            compared(
                f"an event to {size.audience:,} clients of one organization, {name}",
                "ms",
                partial(percentile, share=share),
                our_delays,
                PEER,
                their_delays,
                ratio_target=target,
            )
            for name, share, target in (("p50", 0.5, None), ("p99", 0.99, at_most(0.5)))
        ],
    ]


def _load(stage: Stage, clients: int, *, line: str) -> Load:
    tables.fill(stage, connections=4 * (clients // PER_ORGANIZATION + 1))
    organizations = [tables.organization(4 * (number // PER_ORGANIZATION)) for number in range(clients)]
    with stage.running(line) as children:
        with watching(stage, organizations[:WARM_UP], lambda *_: None, line=line):
            before = memory_of(children[line])
        with watching(stage, organizations, lambda *_: None, line=line):
            grown = memory_of(children[line]) - before
            return Load(clients, grown / 1024 / clients, subscriptions(stage))


def _fan_out(stage: Stage, size: Size, *, line: str) -> list[float]:
    """Return the milliseconds of each event to each client of one organization."""
    tables.fill(stage, connections=4)
    organization = tables.organization(0)
    sent: list[float] = []
    delays: list[float] = []

    def got(event: bytes, moment: float) -> None:
        if b'"bench"' in event:
            delays.append((moment - sent[-1]) * 1000)

    with stage.running(line), watching(stage, [organization] * size.audience, got, line=line):
        for number in range(1, size.events + 1):
            sent.append(time.monotonic())
            publish(stage.redis, organization, number=number)
            wanted = number * size.audience
            if not wait_until(partial(_has, delays, wanted), within=CAME_WITHIN):
                raise StartError(f"{len(delays)} of {wanted} events came")
            time.sleep(PAUSE)
    return delays


def _has(delays: list[float], count: int) -> bool:
    return len(delays) == count


def publish(redis: Redis, organization: UUID, *, number: int) -> None:
    """Publish as the workers do; flask-sse takes the same text, and an id besides."""
    data = json.dumps({"connectionId": str(organization), "status": "syncing", "timestamp": "bench"})
    event = {"data": data, "type": "data_source_update", "id": f"{time.time_ns() // 1_000_000}-{number}"}
    redis.publish(f"rita:sse:{organization}", json.dumps(event))


MEASURE = Measure(
    "stream",
    "Event streams: clients on one web process",
    {"tiny": Size(20, 10, 2), "quick": Size(2_000, 500, 10), "full": Size(10_000, 1_000, 30)},
    run,
)
