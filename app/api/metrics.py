"""Metrics for Prometheus, of all organizations together: for operators, who show METRICS_TOKEN."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress

from flask import Blueprint, Flask, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from app import errors, extensions, metrics_sharing
from app.api import errors as error_answers
from app.api import request_handling
from app.config import Settings
from app.outbound import sweep_times
from app.services import backlog
from app.unit_of_work import unit_of_work

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def serve_metrics() -> Response:
    """Answer with what the web processes counted and with what the database knows."""
    _require_metrics_token()
    with unit_of_work(all_tenants=True) as work:
        measured = backlog.measure_backlog(work.session, now=work.now)
    return _metrics_response(_BacklogCollector(measured), _SweepAgeCollector(), *metrics_sharing.metric_collectors())


def create_worker_metrics_app(settings: Settings) -> Flask:
    """Build the application that serves what a worker and its children counted, and nothing else."""
    page = Flask("rita-metrics", static_folder=None)
    page.extensions["settings"] = settings
    request_handling.init_app(page)
    error_answers.init_app(page)
    page.add_url_rule("/metrics", view_func=_serve_worker_metrics)
    return page


def _serve_worker_metrics() -> Response:
    _require_metrics_token()
    return _metrics_response(*metrics_sharing.metric_collectors())


def _require_metrics_token() -> None:
    """Raise what the caller is told who does not show METRICS_TOKEN; without one there is no such page."""
    token = extensions.settings().metrics_token
    if token is None:
        raise errors.NotFound("Metrics are served where METRICS_TOKEN is set")
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise errors.Unauthorized("Send the header Authorization: Bearer <METRICS_TOKEN>")


def _metrics_response(*collectors: Collector) -> Response:
    """Answer in Prometheus' or OpenMetrics' text format, as the caller asks."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    encode, content_type = _encoder_for_accept_header(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def _encoder_for_accept_header(accept_header: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return the format that is asked for, in the one version that we write: the library fails at versions like `x`."""
    kinds = {each.partition(";")[0].strip().lower() for each in accept_header.split(",")}
    if "application/openmetrics-text" in kinds:
        return openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest, CONTENT_TYPE_PLAIN_0_0_4


class _SweepAgeCollector(Collector):
    """How old the sweeps are, the same from whichever process answers."""

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge; without a sweep for a day, or a Redis to ask, it has no value for that."""
        ages = GaugeMetricFamily("rita_sweep_age_seconds", "How long ago a sweep was last made.", labels=["sweep"])
        with suppress(RedisError):
            for name in (sweep_times.DISPATCH_SWEEP, sweep_times.EXPIRE_SWEEP):
                if (age := sweep_times.sweep_age(extensions.redis(), name)) is not None:
                    ages.add_metric([name], age.total_seconds())
        yield ages


class _BacklogCollector(Collector):
    """What the database knows, the same from whichever process answers."""

    def __init__(self, measured: backlog.Backlog) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; durations are in seconds."""
        measured = self._measured
        about = "Operations that await an end."
        operations = GaugeMetricFamily("rita_operations_open", about, labels=["kind", "state"])
        for labels, count in measured.open_counts.items():
            operations.add_metric(labels, count)
        yield operations
        oldest_open, oldest_due = measured.oldest_open_age.total_seconds(), measured.oldest_due_age.total_seconds()
        about = "Age of the oldest open operation."
        yield GaugeMetricFamily("rita_operations_oldest_open_seconds", about, value=oldest_open)
        about = "How long the attempt that has waited longest has been due."
        yield GaugeMetricFamily("rita_operations_oldest_due_seconds", about, value=oldest_due)
        seconds = backlog.NEVER_ATTEMPTED_AFTER.seconds
        about = f"Operations accepted more than {seconds} seconds ago and never attempted."
        yield GaugeMetricFamily("rita_operations_never_attempted", about, value=measured.never_attempted_count)
