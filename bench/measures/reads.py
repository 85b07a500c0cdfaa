"""How many reads a second one web process answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import tables
from bench.http import Call, request_bytes, saturate
from bench.results import Measure, Row, at_least, percentile
from bench.stage import Stage

CONNECTIONS = 4_000
WARM_UP_SECONDS = 1.0
PEER = "the same queries in a bare Flask view with psycopg2"


@dataclass(frozen=True)
class Size:
    """So long for each endpoint."""

    seconds: float


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with bare Flask and psycopg2 behind the same server."""
    tables.fill(stage, connections=CONNECTIONS)
    rows = []
    paths: dict[str, Callable[[int], str]] = {
        "GET /api/data-sources": lambda _: "/api/data-sources",
        "GET /api/data-sources/:id": lambda number: f"/api/data-sources/{tables.connection(number)}",
    }
    for name, path in paths.items():
        ours, theirs = [], []
        for _ in range(repeat):
            ours.append(stage.quiet.measured(_read, stage, size, path, line="web"))
            theirs.append(stage.quiet.measured(_read, stage, size, path, line="plain_web"))
        rows += [
            Row(
                name,
                "requests/s",
                [len(calls) / size.seconds for calls in ours],
                PEER,
                [len(calls) / size.seconds for calls in theirs],
                ratio_target=at_least(0.6),
            ),
            Row(f"{name}, p99 of 8 clients", "ms", _p99(ours), PEER, _p99(theirs)),
        ]
    return rows


def _p99(found: list[list[Call]]) -> list[float]:
    return [percentile([call.seconds * 1000 for call in calls], 0.99) for calls in found]


def _read(stage: Stage, size: Size, path: Callable[[int], str], *, line: str) -> list[Call]:
    with stage.running(line):
        return read(stage, range(0, CONNECTIONS, 7), path, seconds=size.seconds)


def read(stage: Stage, numbers: Iterable[int], path: Callable[[int], str], *, seconds: float) -> list[Call]:
    """Read the paths of connections over and over, each for its organization; return the calls after a warm-up."""
    requests = [
        request_bytes("GET", path(number), token=stage.token(tables.organization(number))) for number in numbers
    ]
    saturate(stage.http, requests, seconds=WARM_UP_SECONDS)
    return saturate(stage.http, requests, seconds=seconds)


MEASURE = Measure(
    "reads",
    "Reads: one web process",
    {"tiny": Size(0.5), "quick": Size(4), "full": Size(8)},
    run,
)
