"""A worker's own page for Prometheus, where a port is set: its metrics and its children's."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from celery import Celery

from app.config import Settings
from app.outbound.deadline import TotalDeadline
from tasks.flask_context import is_status_app

log = structlog.get_logger()

# One asker at a time is served, so one who says nothing, or a byte at a time, must not keep the next waiting.
CLIENT_TIMEOUT = timedelta(seconds=5)

# The worker forks in another thread than the one that serves, and a child would inherit whatever lock that one holds.
_fork_lock = threading.Lock()
os.register_at_fork(before=_fork_lock.acquire, after_in_parent=_fork_lock.release, after_in_child=_fork_lock.release)

_servers: list[WSGIServer] = []


class _QuietRequestHandler(WSGIRequestHandler):
    def handle(self) -> None:
        """Answer one request, all of it in time."""
        deadline = TotalDeadline(CLIENT_TIMEOUT)
        with deadline.enforced():
            deadline.add_socket(self.connection)
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the page logs its requests as the web process does."""


def metrics_port_of(celery_app: Celery, settings: Settings) -> int | None:
    """Return where the worker of a Celery application serves its page, or None."""
    return settings.worker_metrics_port if is_status_app(celery_app) else settings.webhook_worker_metrics_port


def start_metrics_server(settings: Settings, *, port: int | None) -> None:
    """Serve the page for the life of the process. A port that is taken costs the page, not the worker."""
    if port is None:
        return
    from app.api import metrics  # noqa: PLC0415 - few workers serve a page

    metrics_app = metrics.create_worker_metrics_app(settings)

    def application_without_forks(environ: Any, start_response: Any) -> Any:
        with _fork_lock:
            return metrics_app(environ, start_response)

    address = settings.listen_address
    try:
        server = make_server(address, port, application_without_forks, handler_class=_QuietRequestHandler)
    except OSError as problem:
        log.warning("metrics_not_served", port=port, error=problem.strerror)
        return
    _servers.append(server)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics_served", port=port)


def close_inherited_servers() -> None:
    """Close what a child has inherited of the page: its port must not outlive the worker."""
    while _servers:
        _servers.pop().server_close()
