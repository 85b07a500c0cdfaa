"""What is counted while the work goes by, for Prometheus. What the database knows is measured when somebody asks.

Labels have few values, all known beforehand and all shown from the start; never an organization, an address or an id.
How the processes of one group add up their counts is in `metrics_sharing.py`.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cache
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from app.domain.retry import AttemptOutcome, RetryVerdict
from app.domain.status_messages import REFUSAL_REASONS

# Up to the longest that one POST may take as it is set by default, and somewhat beyond.
WEBHOOK_SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 12.5, 20)
BATCH_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

# Every way in which an attempt ends, by what is done next and what the receiver answered.
_WEBHOOK_OUTCOME_LABELS = (
    (RetryVerdict.DONE, "2xx"), (RetryVerdict.FINAL, "3xx"), (RetryVerdict.FINAL, "4xx"), (RetryVerdict.RETRY, "4xx"),
    (RetryVerdict.RETRY, "5xx"), (RetryVerdict.RETRY, "none"), (RetryVerdict.FINAL, "none"),
)  # fmt: skip

# Half of the series, and only of a process that shares its metrics with nobody.
disable_created_metrics()


class Metrics:
    """The metrics; those of one process, or of its place in a group."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        about = "Attempts to deliver a webhook, by what is done next and the hundred of the HTTP answer."
        labels = ("kind", "outcome", "answer")
        self.webhook_attempts = Counter("rita_webhook_attempts_total", about, labels, registry=self.registry)
        about = "How long one POST took, answered or not."
        self.webhook_seconds = self._histogram("rita_webhook_attempt_seconds", about, WEBHOOK_SECONDS_BUCKETS, ["kind"])
        self.webhooks_deferred = self._counter(
            "rita_webhooks_parked_total", "Attempts put off because the external service is known to be down."
        )
        self.status_messages = self._counter(
            "rita_status_messages_total",
            "Messages of the external service; late ones, and copies, change nothing, refused ones are buried.",
            outcome=("applied", "late", "refused"),
        )
        about = "Messages moved to the dead letters."
        self.dead_letters = self._counter("rita_dead_letters_total", about, reason=REFUSAL_REASONS)
        self.batches_held = self._counter(
            "rita_status_batches_held_total", "Batches that could not be applied and are held, to be tried again."
        )
        self.messages_given_back = self._counter(
            "rita_status_messages_given_back_total", "Messages given back to their queue, after the longest hold."
        )
        self.consumers_lost = self._counter(
            "rita_consumers_lost_total", "Times that a worker found itself without a consumer, and got it back."
        )
        self.messages_republished = self._counter(
            "rita_status_messages_moved_total",
            "Messages published anew to their own queue, which had had them back too often.",
        )
        about = "Messages of one batch."
        self.batch_messages = self._histogram("rita_status_batch_messages", about, BATCH_SIZE_BUCKETS)
        about = "How long a batch took to be applied, buried and pushed."
        self.batch_seconds = self._histogram("rita_status_batch_seconds", about, BATCH_SECONDS_BUCKETS)
        self.values_refused = self._counter(
            "rita_redis_values_refused_total",
            "What Redis held for us and is not what we put there: moved, or not ours.",
            value=("credentials", "ticket"),
            reason=("misplaced", "unreadable"),
        )
        self.sse_clients = self._gauge("rita_sse_clients", "Browsers whose event stream is open.")
        self.sse_streams = self._counter(
            "rita_sse_streams_total",
            "Event streams opened, by what they began with: the events missed, or a snapshot.",
            start=("replay", "snapshot"),
        )
        self.sse_drops = self._counter(
            "rita_sse_drops_total",
            "Event streams ended by us: the browser read too slowly, or the subscription was lost.",
            reason=("slow", "subscription_lost"),
        )
        self.sse_events_lost = self._counter(
            "rita_sse_events_lost_total", "Events that Redis did not take; pages get a snapshot when they reconnect."
        )
        self.pool_size = self._gauge("rita_database_pool_size", "Database connections that may be open at most.")
        self.pool_in_use = self._gauge("rita_database_pool_in_use", "Database connections at work.")
        for kind in ("verify", "sync"):
            self.webhook_seconds.labels(kind)
            for end in _WEBHOOK_OUTCOME_LABELS:
                self.webhook_attempts.labels(kind, *end)

    def _counter(self, name: str, help_text: str, **values_by_label: Iterable[str]) -> Counter:
        counter = Counter(name, help_text, tuple(values_by_label), registry=self.registry)
        # An increase is only seen of what was there before.
        for values in product(*values_by_label.values()) if values_by_label else ():
            counter.labels(*values)
        return counter

    def _histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, registry=self.registry, multiprocess_mode="livesum")


@cache
def process_metrics() -> Metrics:
    """Return this process's metrics."""
    return Metrics()


def count_webhook_attempt(kind: str, outcome: AttemptOutcome) -> None:
    """Count an attempt, and how long its POST took if there was one."""
    answer = "none" if outcome.status_code is None else f"{outcome.status_code // 100}xx"
    process_metrics().webhook_attempts.labels(kind, outcome.verdict, answer).inc()
    if outcome.duration > timedelta(0):
        process_metrics().webhook_seconds.labels(kind).observe(outcome.duration.total_seconds())


def observe_batch(*, message_count: int, seconds: float) -> None:
    """Count a batch that was settled; `seconds` in seconds."""
    process_metrics().batch_messages.observe(message_count)
    process_metrics().batch_seconds.observe(seconds)


def count_lost_consumer() -> None:
    """Count a worker that had stopped consuming unasked."""
    process_metrics().consumers_lost.inc()


def count_applied_and_late_messages(*, applied: int, late: int) -> None:
    """Count what became of messages in a transaction that was committed."""
    process_metrics().status_messages.labels("applied").inc(applied)
    process_metrics().status_messages.labels("late").inc(late)


def count_dead_letters(reasons: Iterable[str]) -> None:
    """Count refused messages that are dead letters now."""
    for reason, count in Tally(reasons).items():
        process_metrics().status_messages.labels("refused").inc(count)
        process_metrics().dead_letters.labels(reason).inc(count)
