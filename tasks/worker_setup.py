"""What makes a process of Celery's a worker: its tasks, and what it does when it starts, forks and takes one up."""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import structlog
from billiard.process import active_children, current_process
from celery import Celery, signals
from celery.apps import worker
from celery.concurrency import get_implementation
from flask import Flask

from app import extensions, logs, metrics_sharing, tracing
from app.config import Settings
from app.jobs import VERIFICATIONS, WEBHOOKS
from tasks import metrics_page
from tasks.flask_context import flask_app_of, is_status_app

log = structlog.get_logger()


# Seconds. A batch or a webhook ends well within the first; what is cut off is not acknowledged, so it is redelivered,
# and harms nothing. A pool whose children are gone ends within the second, unless it waits to write to one of them.
WARM_SHUTDOWN_SECONDS = 8.0
FORCED_SHUTDOWN_SECONDS = 2.0
# In place of Celery's own, by the modules of those.
POOL_REPLACEMENTS = {
    "celery.concurrency.thread": "tasks.worker_pools:PerQueueThreadPool",
    "celery.concurrency.prefork": "tasks.wide_pipes:WidePipePool",
}
# Objects that come to be before the garbage collector looks at them: more than a large batch of messages has at a time.
GARBAGE_COLLECTION_THRESHOLD = 50_000


def limit_shutdown_time(**_: Any) -> None:
    """See that a warm shutdown ends.

    A pool that is stopped in a flood may leave a child waiting for work for ever, and one that had given a batch to a
    child that hangs waits for ever to write to it, even when that child is gone.
    """

    def end_children() -> None:
        left = active_children()
        log.warning("pool_children_ended", count=len(left))
        for child in left:
            child.terminate()

    def kill_and_exit() -> None:
        left = active_children()
        log.error("pool_did_not_end", count=len(left))
        for child in left:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        try:
            for child in left:
                child.join(timeout=1)
        finally:
            # Whatever happens: the pool may have closed what a child is waited for by.
            os._exit(1)

    until_end = WARM_SHUTDOWN_SECONDS + FORCED_SHUTDOWN_SECONDS
    for seconds, act in ((WARM_SHUTDOWN_SECONDS, end_children), (until_end, kill_and_exit)):
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()


def exclude_imports_from_garbage_collection(**_: Any) -> None:
    """Keep the garbage collector from walking through every module again and again: a tenth of a child's time.

    Nor through a batch of messages that is being worked on, time and again: it is gone afterwards by itself.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_COLLECTION_THRESHOLD)


@cache
def set_up_worker(celery_app: Celery) -> None:
    """Give a worker its tasks and its Flask application, for the life of the process."""
    for module in ("tasks.status",) if is_status_app(celery_app) else ("tasks.webhooks", "tasks.housekeeping"):
        import_module(module)
    _connect_signals(flask_app_of(celery_app))
    worker.safe_say = logs.write_from_signal_handler
    # Before the pool forks: what a child's collector walks through, the child has a copy of.
    exclude_imports_from_garbage_collection()


def _connect_signals(flask_app: Flask) -> None:
    """Connect the application to Celery's signals."""
    settings = extensions.settings_of(flask_app)

    def refuse_unsafe_role(**_: Any) -> None:
        with flask_app.app_context():
            extensions.check_database_role()

    def forget_parents_connections(**_: Any) -> None:
        """After a fork, a connection of the parent's would be shared by two processes, and break for both."""
        with flask_app.app_context():
            extensions.engine().dispose(close=False)
        extensions.redis_of(flask_app).connection_pool.reset()

    def bind_task(task_id: str, task: Any, **_: Any) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)

    # weak=False: the signals hold their receivers, which nothing else does.
    signals.worker_init.connect(refuse_unsafe_role, weak=False)
    signals.worker_shutting_down.connect(limit_shutdown_time, weak=False)
    signals.worker_process_init.connect(forget_parents_connections, weak=False)
    signals.worker_process_init.connect(exclude_imports_from_garbage_collection, weak=False)
    # A pool of threads has no processes of its own.
    signals.worker_ready.connect(exclude_imports_from_garbage_collection, weak=False)
    signals.task_prerun.connect(bind_task, weak=False)
    _connect_pool_replacement()
    _connect_metrics(settings)
    _connect_tracing(settings)


def _connect_pool_replacement() -> None:
    def add_verification_queue_and_replace_pool(sender: Any, **_: Any) -> None:
        """Whoever takes webhooks takes verifications, by threads of their own; no start line has to name either."""
        consumed = sender.app.amqp.queues
        if WEBHOOKS in consumed.consume_from:
            consumed.select_add(consumed[VERIFICATIONS])
        # By its name: a worker of threads does without what the other one is made of.
        chosen = get_implementation(sender.pool_cls).__module__
        sender.pool_cls = POOL_REPLACEMENTS.get(chosen, sender.pool_cls)

    signals.worker_init.connect(add_verification_queue_and_replace_pool, weak=False)


def _connect_metrics(settings: Settings) -> None:
    def share_and_serve_metrics(sender: Any, **_: Any) -> None:
        metrics_sharing.share_with_forked_processes()
        metrics_page.start_metrics_server(settings, port=metrics_page.metrics_port_of(sender.app, settings))

    def continue_counts_in_child(**_: Any) -> None:
        """Tell a child of the pool from the one that it came for; the threads of a pool are no children."""
        metrics_page.close_inherited_servers()
        if (number := getattr(current_process(), "index", None)) is not None:
            metrics_sharing.continue_counts_of_slot(number)

    # After the role was looked at: the connection for that is not one at work.
    signals.worker_init.connect(share_and_serve_metrics, weak=False)
    signals.worker_process_init.connect(continue_counts_in_child, weak=False)


def _connect_tracing(settings: Settings) -> None:
    def send_spans(**_: Any) -> None:
        """Start at the first task: no process that forks later has begun to by then."""
        tracing.start_sending_spans(settings)

    def send_last_spans(**_: Any) -> None:
        tracing.flush_spans(settings)

    signals.task_prerun.connect(send_spans, weak=False)
    signals.worker_process_shutdown.connect(send_last_spans, weak=False)
