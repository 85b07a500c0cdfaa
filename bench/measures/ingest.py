"""How many status messages a second go from the queue into row, operation, audit and event."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from celery import Celery

from bench import broker, tables
from bench.results import Measure, Row, at_least
from bench.stage import Stage
from devstack.child import StartError, wait_until

WITHIN = timedelta(minutes=10)
CELERY_QUEUE = "bench_status"
# The same order for everyone, and one that no index likes.
SHUFFLE = 20_261_124


@dataclass(frozen=True)
class Size:
    """So many pairs of started and completed over so many connections."""

    pairs: int
    connections: int
    # For peers that take a message at a time: they are as steady over fewer, and their round ends before the machine's
    # speed has changed.
    pairs_one_by_one: int

    @property
    def messages(self) -> int:
        """Both halves of each pair."""
        return 2 * self.pairs

    @property
    def synced(self) -> int:
        """So many of the connections have messages."""
        return min(self.pairs, self.connections)

    @property
    def one_by_one(self) -> Size:
        """The same for those peers."""
        return replace(self, pairs=self.pairs_one_by_one)


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare with a stock Celery task a message, a plain consumer, and a drain that does nothing."""
    measured = stage.quiet.measured
    ours, celery, plain, limit = [], [], [], []
    for _ in range(repeat):
        plain.append(measured(rate, stage, size.one_by_one, line="kombu_status"))
        # Next to ours those whose targets are near: what a machine is like changes within minutes.
        celery.append(measured(rate, stage, size.one_by_one, line="celery_status"))
        ours.append(measured(rate, stage, size, line="worker"))
        limit.append(measured(_drain, stage, size))
    what, unit = "status messages applied", "messages/s"
    return [
        Row(what, unit, ours, "a stock Celery task a message", celery, ratio_target=at_least(14)),
        Row(what, unit, ours, "a plain kombu consumer", plain, ratio_target=at_least(5)),
        Row(what, unit, ours, "draining the queue without work", limit, ratio_target=at_least(0.4)),
    ]


def messages(numbers: Sequence[int], *, rounds: int, tick: int = 0) -> Iterator[dict[str, Any]]:
    """Start all connections in a random order, then complete all, and again.

    The order is always the same, so that two messages of a connection are never near: batches are applied side by side,
    and if a completion came after the next start, the two syncs would count as one, with an event less.
    """
    order = list(numbers)
    random.Random(SHUFFLE).shuffle(order)  # noqa: S311 - no secret
    for _ in range(rounds):
        for status in ("sync_started", "sync_completed"):
            for number in order:
                tick += 1
                yield broker.report(number, status, tick=tick)


def consume(
    stage: Stage, sent: Iterable[dict[str, Any]], count: int, *, line: str, queue_type: str = "classic"
) -> float:
    """Put messages into the queue, start who consumes it, and return how many a second became events."""
    if line == "celery_status":
        _flood_celery(stage, sent)
    else:
        broker.flood(stage.amqp, sent, queue_type=queue_type)
    stage.redis.config_resetstat()
    with stage.running(line):
        return watch(stage, count)


def _sent(size: Size) -> Iterator[dict[str, Any]]:
    return messages(range(size.synced), rounds=size.pairs // size.synced)


def rate(stage: Stage, size: Size, *, line: str, queue_type: str = "classic") -> float:
    """Return how many messages a second a line applies, seen to have applied them all."""
    tables.fill(stage, connections=size.connections)
    rate = consume(stage, _sent(size), size.messages, line=line, queue_type=queue_type)
    _check(stage, size)
    return rate


def watch(stage: Stage, count: int) -> float:
    """Return how many events a second Redis counts, from the last moment without any to when all are there."""
    began = time.monotonic()

    def all_seen() -> bool:
        nonlocal began
        looked = time.monotonic()
        seen = published(stage)
        if not seen:
            began = looked
        return seen >= count

    if not wait_until(all_seen, within=WITHIN):
        raise StartError(f"only {published(stage)} of {count} events came")
    return count / (time.monotonic() - began)


def published(stage: Stage) -> int:
    """Return how many events Redis has published since its counters were reset."""
    return int(stage.redis.info("commandstats").get("cmdstat_publish", {}).get("calls", 0))


def _check(stage: Stage, size: Size) -> None:
    """See that the rows say what the messages said: a contestant that skips work is no contestant."""
    ((completed, succeeded, audited),) = stage.sql(
        "SELECT (SELECT count(*) FROM data_source_connections WHERE status = 'idle' AND last_sync_at > created_at),"
        " (SELECT count(*) FROM operations WHERE state = 'succeeded'), (SELECT count(*) FROM audit_logs)"
    )
    if (completed, succeeded, audited) != (size.synced, size.pairs, size.messages):
        raise StartError(f"{completed} connections, {succeeded} operations and {audited} audit rows are not all")


def _flood_celery(stage: Stage, sent: Iterable[dict[str, Any]]) -> None:
    with Celery(broker=stage.amqp, set_as_current=False) as sender, sender.producer_or_acquire() as producer:
        sender.conf.task_default_queue = CELERY_QUEUE
        for message in sent:
            sender.send_task("bench.apply_status", args=[message], producer=producer, ignore_result=True)


def _drain(stage: Stage, size: Size) -> float:
    broker.flood(stage.amqp, _sent(size))
    with stage.running("kombu_drain", BENCH_MESSAGES=str(size.messages)) as children:
        seconds = float(children["kombu_drain"].log.read_text().rsplit(maxsplit=1)[-1])
    return (size.messages - 1) / seconds


MEASURE = Measure(
    "ingest",
    "Status messages: from the queue into row, operation, audit and event",
    {
        "tiny": Size(20, 20, 10),
        "quick": Size(5_000, 5_000, 1_000),
        "full": Size(20_000, 10_000, 2_000),
    },
    run,
)
