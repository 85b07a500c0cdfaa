"""Whether ingest and list stay as fast when there are many connections with a long history."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from statistics import harmonic_mean

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
    """The stocks, smallest first; at each, so many of its connections, pairs of messages, and seconds of reading."""

    stocks: tuple[Stock, ...]
    connections: int
    pairs: int
    seconds: float


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with itself at the smallest stock: in turns, each in a database of its own."""
    messages: dict[Stock, list[float]] = {stock: [] for stock in size.stocks}
    lists: dict[Stock, list[float]] = {stock: [] for stock in size.stocks}
    turns = count()

    def ingested(stock: Stock) -> float:
        return stage.quiet.measured(_ingest, stages[stock], _some(stock, size), size.pairs, turns)

    def listed(stock: Stock) -> float:
        return stage.quiet.measured(_lists, stages[stock], _some(stock, size)[:500], seconds=size.seconds)

    with ExitStack() as stack:
        stages = {stock: stack.enter_context(stage.another_database()) for stock in size.stocks}
        for stock, its in stages.items():
            tables.fill(its, connections=stock.connections, history=stock.history)
        for stock in size.stocks:
            # The first time finds cold what has just been filled.
            ingested(stock)
        for _ in range(repeat):
            for found, rate in ((messages, ingested), (lists, listed)):
                for stock, mean in _there_and_back(size.stocks, rate):
                    found[stock].append(mean)
    first = size.stocks[0]
    return [
        Row(
            f"{name} at {stock}",
            unit,
            found[stock],
            "" if stock == first else f"itself at {first.connections:,}",
            () if stock == first else found[first],
            ratio_target=None if stock == first else at_least(0.9),
        )
        for name, unit, found in [("status messages", "messages/s", messages), ("lists", "requests/s", lists)]
        for stock in size.stocks
    ]


def _there_and_back(stocks: Sequence[Stock], rate: Callable[[Stock], float]) -> Iterator[tuple[Stock, float]]:
    """Find a rate at each stock, and again in reverse, so that a machine that grows slower is so for all alike."""
    there = [rate(stock) for stock in stocks]
    back = [rate(stock) for stock in reversed(stocks)]
    for stock, rates in zip(stocks, zip(there, reversed(back), strict=True), strict=True):
        yield stock, harmonic_mean(rates)


def _some(stock: Stock, size: Size) -> Sequence[int]:
    """Return the numbers of the connections that are worked on: the same at every turn."""
    return random.Random(SEED).sample(range(stock.connections), size.connections)  # noqa: S311 - no secret


def _ingest(stage: Stage, numbers: Sequence[int], pairs: int, turns: Iterator[int]) -> float:
    """Return the messages a second of a turn that there was not before: what is sent again is a copy.

    What it leaves to be vacuumed is so at its end, or PostgreSQL would do that by itself in the turn of another stock.
    """
    sent = 2 * pairs
    messages = ingest.messages(numbers, rounds=pairs // len(numbers), tick=next(turns) * sent)
    rate = ingest.consume(stage, messages, sent, line="worker")
    tables.settle(stage)
    return rate


def _lists(stage: Stage, numbers: Sequence[int], *, seconds: float) -> float:
    with stage.running("web"):
        return len(reads.read(stage, numbers, lambda _: "/api/data-sources", seconds=seconds)) / seconds


MEASURE = Measure(
    "growth",
    "Growth: the same work beside ever more rows",
    {
        "tiny": Size((Stock(40, 100), Stock(80, 200)), 20, 20, 0.5),
        "quick": Size((Stock(10_000, 100_000), Stock(100_000, 1_000_000)), 5_000, 5_000, 3),
        "full": Size(
            (Stock(10_000, 100_000), Stock(100_000, 1_000_000), Stock(1_000_000, 10_000_000)),
            # As much as the ingest beside the peers.
            10_000,
            20_000,
            4,
        ),
    },
    run,
)
