"""`make bench ARGS='--against COMMIT'`: this release beside an earlier one, alternating, on the same servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from bench import footprint, tables
from bench.measures import ingest, latency, stream, webhooks
from bench.processor_time import processor_time
from bench.results import Measure, Row, at_least, at_most
from bench.stage import Stage
from bench.streams import watching

# Of organizations none of whose browsers a process serves; published so many at once.
EVENTS_PER_SECOND, EVENTS_AT_ONCE = 4_000, 40


@dataclass(frozen=True)
class Unheard:
    """For so long, in seconds, events of others are published; and for as long, before that, none."""

    seconds: float


def processes(stage: Stage, size: footprint.Size, repeat: int) -> list[Row]:
    """Compare what the five processes hold and use while nothing happens, and how long each takes to be ready."""
    peer, ours, theirs = _alternate(stage, repeat, partial(footprint.measure, size=size))

    def row(figure: str, name: str, unit: str, bound: float) -> Row:
        def values(rounds: list[dict[tuple[str, str], float]]) -> list[float]:
            return [found[figure, name] for found in rounds]

        return Row(f"{figure}: {name}", unit, values(ours), peer, values(theirs), ratio_target=at_most(bound))

    return [
        row("idle memory", footprint.ALL_OF_THEM, "MiB", 0.5),
        *[row("idle memory", line, "MiB", 0.75) for line in footprint.LINES],
        *[row("from exec to ready", line, "s", 0.5) for line in footprint.LINES],
        row("processor time of an idle minute", footprint.ALL_OF_THEM, "s", 0.5),
    ]


def unheard_events(stage: Stage, size: Unheard, repeat: int) -> list[Row]:
    """Compare what a web process spends on events of organizations none of whose browsers it serves."""
    peer, ours, theirs = _alternate(stage, repeat, partial(_microseconds_of_unheard_event, size=size))
    return [Row("an event for nobody here, time of web", "µs", ours, peer, theirs, ratio_target=at_most(0.02))]


def requests(stage: Stage, size: webhooks.Size, repeat: int) -> list[Row]:
    """Compare sync requests at a steady rate, each until its webhook is delivered."""
    measure = partial(webhooks.at_steady_rate, size=size, lines=webhooks.LINES)
    peer, ours, theirs = _alternate(stage, repeat, measure)
    return webhooks.steady_rows(ours, peer, theirs, processor_target=at_most(0.7))


def single_messages(stage: Stage, size: latency.Size, repeat: int) -> list[Row]:
    """Compare status messages at steady rates, each until its event reaches a browser."""
    rows = []
    for rate in latency.RATES:
        measure = partial(latency.at_rate, size=size, rate=rate, lines=latency.LINES)
        peer, ours, theirs = _alternate(stage, repeat, measure)
        is_alone = rate == min(latency.RATES)
        rows += latency.rate_rows(rate, ours, peer, theirs, processor_target=at_most(0.75) if is_alone else None)
    return rows


def messages(stage: Stage, size: ingest.Size, repeat: int) -> list[Row]:
    """Compare how many status messages a second go from the queue into row, operation, audit and event."""
    peer, ours, theirs = _alternate(stage, repeat, partial(ingest.rate, size=size, line="worker"))
    return [Row("status messages applied", "messages/s", ours, peer, theirs, ratio_target=at_least(1.4))]


_ALL = (
    Measure(
        "footprint",
        "Five processes, idle, and their start",
        {"tiny": footprint.Size(0, 1), "quick": footprint.Size(5, 20), "full": footprint.Size(10, 60)},
        processes,
    ),
    Measure(
        "unheard",
        "Events for other processes' browsers",
        {"tiny": Unheard(0.2), "quick": Unheard(5), "full": Unheard(10)},
        unheard_events,
    ),
    Measure("requests", webhooks.MEASURE.title, webhooks.MEASURE.sizes, requests),
    Measure("latency", latency.MEASURE.title, latency.MEASURE.sizes, single_messages),
    Measure(
        "ingest",
        ingest.MEASURE.title,
        {
            "tiny": ingest.Size(20, 20, 10),
            "quick": ingest.Size(5_000, 5_000, 1),
            "full": ingest.Size(20_000, 10_000, 1),
        },
        messages,
    ),
)
MEASURES = {measure.name: measure for measure in _ALL}


def _alternate(stage: Stage, repeat: int, measure: Callable[[Stage], Any]) -> tuple[str, list[Any], list[Any]]:
    """Return the other release's name, and what was found of ours and of it, round by round."""
    assert stage.beside is not None, "there is no other release"  # noqa: S101 - `side_by_side` gives one
    peer, theirs = stage.beside
    found: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(repeat):
        for side, rounds in zip((stage, theirs), found, strict=True):
            rounds.append(stage.quiet.measured(measure, side))
    return peer, *found


def _microseconds_of_unheard_event(side: Stage, size: Unheard) -> float:
    """Return what an event costs a web process that serves one browser, of another organization."""
    tables.fill(side, connections=8)
    served, other = tables.organization(0), tables.organization(4)
    with side.running("web") as children, watching(side, [served], lambda *_: None, line="web"):
        before = processor_time(children["web"])
        time.sleep(size.seconds)
        idle = processor_time(children["web"]) - before
        count = _publish_steadily(side, other, seconds=size.seconds)
        used = processor_time(children["web"]) - before - idle
    # What it uses anyway is known to a hundredth of a second.
    return max(0.0, used - idle) / count * 1_000_000


def _publish_steadily(side: Stage, organization: UUID, *, seconds: float) -> int:
    """Publish events at a steady rate; return how many."""
    began, count = time.monotonic(), 0
    while count < EVENTS_PER_SECOND * seconds:
        time.sleep(max(0.0, began + count / EVENTS_PER_SECOND - time.monotonic()))
        with side.redis.pipeline(transaction=False) as pipeline:
            for _ in range(EVENTS_AT_ONCE):
                count += 1
                stream.publish(pipeline, organization, number=count)
            pipeline.execute()
    return count
