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

from app import extensions, figures, logs, tracing
from app.config import Settings
from app.jobs import VERIFICATIONS, WEBHOOKS
from tasks import page
from tasks.flask_context import flask_app_of, is_status_app

log = structlog.get_logger()


# Seconds. A batch or a webhook ends well within the first; what is cut off is not acknowledged, so it comes again, and
# harms nothing. A pool whose children are gone ends within the second, unless it waits to write to one of them.
STOP_WITHIN = 8.0
STOP_WITHOUT_CHILDREN_WITHIN = 2.0
# In place of Celery's own, by the modules of those.
OUR_POOLS = {"celery.concurrency.thread": "tasks.lanes:TaskPool", "celery.concurrency.prefork": "tasks.pipes:TaskPool"}
# Objects that come to be before the garbage collector looks at them: more than a large batch of messages has at a time.
COLLECT_AFTER = 50_000


def bound_the_stop(**_: Any) -> None:
    """See that a warm shutdown ends.

    A pool that is stopped in a flood may leave a child waiting for work for ever, and one that had given a batch to a
    child that hangs waits for ever to write to it, even when that child is gone.
    """

    def end_children() -> None:
        left = active_children()
        log.warning("pool_children_ended", count=len(left))
        for child in left:
            child.terminate()

    def end() -> None:
        left = active_children()
        log.error("pool_did_not_end", count=len(left))
        for child in left:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        for child in left:
            child.join(timeout=1)
        os._exit(1)

    for seconds, act in ((STOP_WITHIN, end_children), (STOP_WITHIN + STOP_WITHOUT_CHILDREN_WITHIN, end)):
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()


def spare_what_was_imported(**_: Any) -> None:
    """Keep the garbage collector from walking through every module again and again: a tenth of a child's time.

    Nor through a batch of messages that is being worked on, time and again: it is gone afterwards by itself.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@cache
def start(celery_app: Celery) -> None:
    """Give a worker its tasks and its Flask application, for the life of the process."""
    for module in ("tasks.status",) if is_status_app(celery_app) else ("tasks.webhooks", "tasks.housekeeping"):
        import_module(module)
    _connect(flask_app_of(celery_app))
    worker.safe_say = logs.say
    # Before the pool forks: what a child's collector walks through, the child has a copy of.
    spare_what_was_imported()


def _connect(flask_app: Flask) -> None:
    """Connect the application to Celery's signals."""
    settings = extensions.settings_of(flask_app)

    def refuse_unsafe_role(**_: Any) -> None:
        with flask_app.app_context():
            extensions.check_role()

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
    signals.worker_shutting_down.connect(bound_the_stop, weak=False)
    signals.worker_process_init.connect(forget_parents_connections, weak=False)
    signals.worker_process_init.connect(spare_what_was_imported, weak=False)
    # A pool of threads has no processes of its own.
    signals.worker_ready.connect(spare_what_was_imported, weak=False)
    signals.task_prerun.connect(bind_task, weak=False)
    _connect_pools()
    _connect_figures(settings)
    _connect_traces(settings)


def _connect_pools() -> None:
    def have_pools_of_ours(sender: Any, **_: Any) -> None:
        """Whoever takes webhooks takes verifications, by threads of their own; no start line has to name either."""
        consumed = sender.app.amqp.queues
        if WEBHOOKS in consumed.consume_from:
            consumed.select_add(consumed[VERIFICATIONS])
        # By its name: a worker of threads does without what the other one is made of.
        chosen = get_implementation(sender.pool_cls).__module__
        sender.pool_cls = OUR_POOLS.get(chosen, sender.pool_cls)

    signals.worker_init.connect(have_pools_of_ours, weak=False)


def _connect_figures(settings: Settings) -> None:
    def share_figures(sender: Any, **_: Any) -> None:
        figures.share()
        page.serve(settings, port=page.port_of(sender.app, settings))

    def take_place(**_: Any) -> None:
        """Tell a child of the pool from the one that it came for; the threads of a pool are no children."""
        page.close()
        if (number := getattr(current_process(), "index", None)) is not None:
            figures.take_place(number)

    # After the role was looked at: the connection for that is not one at work.
    signals.worker_init.connect(share_figures, weak=False)
    signals.worker_process_init.connect(take_place, weak=False)


def _connect_traces(settings: Settings) -> None:
    def send_spans(**_: Any) -> None:
        """Start at the first task: no process that forks later has begun to by then."""
        tracing.start(settings)

    def send_last_spans(**_: Any) -> None:
        tracing.stop(settings)

    signals.task_prerun.connect(send_spans, weak=False)
    signals.worker_process_shutdown.connect(send_last_spans, weak=False)
