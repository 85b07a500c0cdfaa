"""What is counted while the work goes by, for Prometheus. What the database knows is measured when somebody asks.

The processes of one group (gunicorn's, or a Celery worker's with its children) keep their metrics in files of one
directory, so that whichever of them is asked adds up all of them; see docs/decisions/0012. Counts belong to a process's
place in its group rather than to the process: who takes the place of one that died goes on from its counts. Labels have
few values, all known beforehand and all shown from the start; never an organization, an address or an id.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
from collections import Counter as Tally
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.domain.messages import REASONS
from app.domain.retry import Outcome, Verdict

# Up to the longest that one POST may take as it is set by default, and somewhat beyond.
WEBHOOK_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 12.5, 20)
BATCH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500)

# Every way in which an attempt ends, by what is done next and what the receiver answered.
_WEBHOOK_ENDS = (
    (Verdict.DONE, "2xx"), (Verdict.FINAL, "3xx"), (Verdict.FINAL, "4xx"), (Verdict.RETRY, "4xx"),
    (Verdict.RETRY, "5xx"), (Verdict.RETRY, "none"), (Verdict.FINAL, "none"),
)  # fmt: skip

PREFIX = "rita-figures-"

# Half of the series, and only of a process that shares its metrics with nobody.
disable_created_metrics()


class Figures:
    """The metrics; those of one process, or of its place in a group."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.webhook_attempts = self._counter(
            "rita_webhook_attempts_total",
            "Attempts to deliver a webhook, by what is done next and the hundred of the HTTP answer.",
            ("kind", "outcome", "answer"),
            [(kind, *end) for kind in ("verify", "sync") for end in _WEBHOOK_ENDS],
        )
        self.webhook_seconds = Histogram(
            "rita_webhook_attempt_seconds",
            "How long one POST took, answered or not.",
            ["kind"],
            buckets=WEBHOOK_SECONDS,
            registry=self.registry,
        )
        self.webhooks_parked = self._counter(
            "rita_webhooks_parked_total", "Attempts put off because the external service is known to be down."
        )
        self.status_messages = self._counter(
            "rita_status_messages_total",
            "Messages of the external service; late ones, and copies, change nothing, refused ones are buried.",
            ("outcome",),
            [("applied",), ("late",), ("refused",)],
        )
        self.dead_letters = self._counter(
            "rita_dead_letters_total", "Messages moved to the dead letters.", ("reason",), [(name,) for name in REASONS]
        )
        self.batches_held = self._counter(
            "rita_status_batches_held_total", "Batches that could not be applied and are held, to be tried again."
        )
        self.given_back = self._counter(
            "rita_status_messages_given_back_total", "Messages given back to their queue, after the longest hold."
        )
        self.consumers_lost = self._counter(
            "rita_consumers_lost_total", "Times that a worker found itself without a consumer, and got it back."
        )
        self.moved = self._counter(
            "rita_status_messages_moved_total",
            "Messages published anew to their own queue, which had had them back too often.",
        )
        self.batch_messages = Histogram(
            "rita_status_batch_messages", "Messages of one batch.", buckets=BATCH_MESSAGES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "rita_status_batch_seconds",
            "How long a batch took to be applied, buried and pushed.",
            buckets=BATCH_SECONDS,
            registry=self.registry,
        )
        self.values_refused = self._counter(
            "rita_redis_values_refused_total",
            "What Redis held for us and is not what we put there: moved, or not ours.",
            ("value", "reason"),
            [(value, reason) for value in ("credentials", "ticket") for reason in ("misplaced", "unreadable")],
        )
        self.sse_clients = self._gauge("rita_sse_clients", "Browsers whose event stream is open.")
        self.sse_streams = self._counter(
            "rita_sse_streams_total",
            "Event streams opened, by what they began with: the events missed, or a snapshot.",
            ("start",),
            [("replay",), ("snapshot",)],
        )
        self.sse_drops = self._counter(
            "rita_sse_drops_total",
            "Event streams ended by us: the browser read too slowly, or the subscription was lost.",
            ("reason",),
            [("slow",), ("subscription_lost",)],
        )
        self.sse_events_lost = self._counter(
            "rita_sse_events_lost_total", "Events that Redis did not take; pages get a snapshot when they reconnect."
        )
        self.pool_size = self._gauge("rita_database_pool_size", "Database connections that may be open at most.")
        self.pool_in_use = self._gauge("rita_database_pool_in_use", "Database connections at work.")
        for kind in ("verify", "sync"):
            self.webhook_seconds.labels(kind)

    def _counter(
        self, name: str, says: str, labels: tuple[str, ...] = (), known: Iterable[tuple[str, ...]] = ()
    ) -> Counter:
        counter = Counter(name, says, labels, registry=self.registry)
        # An increase is only seen of what was there before.
        for values_ in known:
            counter.labels(*values_)
        return counter

    def _gauge(self, name: str, says: str) -> Gauge:
        return Gauge(name, says, registry=self.registry, multiprocess_mode="livesum")


@cache
def of_process() -> Figures:
    """Return this process's metrics."""
    return Figures()


# In the directory of each group. Whoever of the group lives holds a lock on it, which ends with the last of them.
_LIVING = "living"


class _Group:
    """Where this process's group keeps its metrics, and this process's place in it."""

    directory: str | None = None
    place: str = "main"
    lock: IO[bytes] | None = None


def share() -> None:
    """Keep the metrics in files from here on, for this process and those that it forks.

    To be called by the first process of a group before it forks and counts; what was counted before is forgotten.
    """
    _forget_the_dead()
    _Group.directory = mkdtemp(prefix=PREFIX)
    if _Group.lock is not None:
        _Group.lock.close()
    _Group.lock = _locked(Path(_Group.directory))
    atexit.register(_forget, _Group.directory, of=os.getpid())
    # The only way in which the library takes it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _Group.directory
    values.ValueClass = values.MultiProcessValue(lambda: _Group.place)
    of_process.cache_clear()
    of_process()


def _locked(directory: Path) -> IO[bytes]:
    """Make the lock of a group; it has its name only once it is held, so that nobody finds it free."""
    unnamed = directory / f"{_LIVING}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(directory / _LIVING)
    return lock


def _forget_the_dead() -> None:
    """Remove what groups of this user's have left that were killed, to the last process."""
    for lock in Path(gettempdir()).glob(f"{PREFIX}*/{_LIVING}"):
        with suppress(OSError):
            if lock.parent.lstat().st_uid == os.getuid():
                with lock.open("rb") as found:
                    fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(lock.parent, ignore_errors=True)


def _forget(directory: str, *, of: int) -> None:
    # A fork inherits what is to be done at the exit.
    if os.getpid() == of:
        shutil.rmtree(directory, ignore_errors=True)


def take_place(number: int) -> None:
    """Go on from the counts of whoever had this place in the group; to be called after the fork."""
    if _Group.directory is not None:
        leave_place(number)
        _Group.place = str(number)


def leave_place(number: int) -> None:
    """Forget what the process at a place was holding when it ended: its clients, its connections."""
    if _Group.directory is not None:
        mark_process_dead(number, _Group.directory)


def collectors() -> list[Collector]:
    """Return what a page has to collect: this process's metrics, or the whole group's."""
    if _Group.directory is not None:
        return [MultiProcessCollector(None, _Group.directory)]
    return [of_process().registry]


def webhook_attempted(kind: str, outcome: Outcome) -> None:
    """Count an attempt, and how long its POST took if there was one."""
    answer = "none" if outcome.status_code is None else f"{outcome.status_code // 100}xx"
    of_process().webhook_attempts.labels(kind, outcome.verdict, answer).inc()
    if outcome.duration > timedelta(0):
        of_process().webhook_seconds.labels(kind).observe(outcome.duration.total_seconds())


def webhook_parked() -> None:
    """Count an attempt that was put off."""
    of_process().webhooks_parked.inc()


def batch_applied(*, messages: int, took: float) -> None:
    """Count a batch that was settled; `took` in seconds."""
    of_process().batch_messages.observe(messages)
    of_process().batch_seconds.observe(took)


def batch_held() -> None:
    """Count a batch that is to be tried again."""
    of_process().batches_held.inc()


def messages_given_back(count: int) -> None:
    """Count messages that went back to their queue."""
    of_process().given_back.inc(count)


def consumer_lost() -> None:
    """Count a worker that had stopped consuming unasked."""
    of_process().consumers_lost.inc()


def message_moved() -> None:
    """Count a message that its queue counts anew."""
    of_process().moved.inc()


def messages_judged(*, applied: int, late: int) -> None:
    """Count what became of messages in a transaction that was committed."""
    of_process().status_messages.labels("applied").inc(applied)
    of_process().status_messages.labels("late").inc(late)


def messages_buried(reasons: Iterable[str]) -> None:
    """Count refused messages that are dead letters now."""
    for reason, count in Tally(reasons).items():
        of_process().status_messages.labels("refused").inc(count)
        of_process().dead_letters.labels(reason).inc(count)


def value_refused(value: str, reason: str) -> None:
    """Count `credentials` or a `ticket` that Redis held and that is not ours as it lies there."""
    of_process().values_refused.labels(value, reason).inc()


def stream_opened(start: str) -> None:
    """Count an event stream that begins with a `replay` or a `snapshot`."""
    of_process().sse_streams.labels(start).inc()


def clients_changed(by: int) -> None:
    """Follow how many browsers' streams are open."""
    of_process().sse_clients.inc(by)


def clients_dropped(count: int, *, reason: str) -> None:
    """Count the streams that we ended: of `slow` browsers, or with a `subscription_lost`."""
    of_process().sse_drops.labels(reason).inc(count)


def events_lost(count: int) -> None:
    """Count events that nobody was told."""
    of_process().sse_events_lost.inc(count)


def pool_opened(size: int) -> None:
    """Tell how many database connections this process may open at most."""
    of_process().pool_size.set(size)


def pool_changed(by: int) -> None:
    """Follow how many database connections are at work."""
    of_process().pool_in_use.inc(by)
