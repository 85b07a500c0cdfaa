"""Whether ingest and list stay as fast when there are many connections with a long history."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from bench import tables
from bench.measures import ingest, reads
from bench.results import Measure, Row, at_least
from bench.stage import Stage

SEED = 20_261_124


@dataclass(frozen=True)
class Stock:
    """So many connections, and so many finished operations with an audit row each."""

    connections: int
    history: int

    def __str__(self) -> str:
        return f"{self.connections:,} connections, {self.history:,} operations and audit rows"


@dataclass(frozen=True)
class Size:
    """The stocks, smallest first; so many pairs of messages and so many seconds of reading at each."""

    stocks: tuple[Stock, ...]
    pairs: int
    seconds: float


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with itself at the smallest stock."""
    found = {stock: _at(stage, size, stock, repeat) for stock in size.stocks}
    first = size.stocks[0]
    return [
        Row(
            f"{name} at {stock}",
            unit,
            found[stock][place],
            "" if stock == first else f"itself at {first.connections:,}",
            () if stock == first else found[first][place],
            ratio_target=None if stock == first else at_least(0.9),
        )
        for place, (name, unit) in enumerate([("status messages", "messages/s"), ("lists", "requests/s")])
        for stock in size.stocks
    ]


def _at(stage: Stage, size: Size, stock: Stock, repeat: int) -> tuple[list[float], list[float]]:
    tables.fill(stage, connections=stock.connections, history=stock.history)
    numbers = random.Random(SEED).sample(range(stock.connections), size.pairs)  # noqa: S311 - no secret
    ticks = count(step=2 * size.pairs)
    messages = [_ingest(stage, numbers, tick=next(ticks)) for _ in range(repeat)]
    with stage.running("web"):
        lists = [
            len(reads.read(stage, numbers[:500], lambda _: "/api/data-sources", seconds=size.seconds)) / size.seconds
            for _ in range(repeat)
        ]
    return messages, lists


def _ingest(stage: Stage, numbers: Sequence[int], *, tick: int) -> float:
    tables.settle(stage)
    sent = ingest.messages(numbers, rounds=1, tick=tick)
    return ingest.consume(stage, sent, 2 * len(numbers), line="worker")


MEASURE = Measure(
    "growth",
    "Growth: the same work beside ever more rows",
    {
        "tiny": Size((Stock(40, 100), Stock(80, 200)), 20, 0.5),
        "quick": Size((Stock(10_000, 100_000), Stock(100_000, 1_000_000)), 5_000, 3),
        "full": Size(
            (Stock(10_000, 100_000), Stock(100_000, 1_000_000), Stock(1_000_000, 10_000_000)),
            10_000,
            10,
        ),
    },
    run,
)
