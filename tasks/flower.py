"""Flower as it is started here: nothing without the password, and a history that ends."""

from __future__ import annotations

import flower.options  # noqa: F401 - defines what is set below
from flower.views.monitor import Healthcheck, Metrics
from tornado.options import options
from tornado.web import authenticated

# What it remembers unless its line says otherwise: its own hundred thousand jobs are 640 MB after a day.
MAX_REMEMBERED_TASKS = 10_000
# After so many seconds it forgets a worker that has ended.
FORGET_WORKER_AFTER_SECONDS = 3_600


def require_password_on_every_page() -> None:
    """Have Flower ask for the password where it asks for none: its metrics name workers and tasks to everybody."""
    for page in (Metrics, Healthcheck):
        page.get = authenticated(page.get)


def limit_history() -> None:
    """Have it remember so much, and forget workers that are gone; the command line goes before."""
    options.max_tasks = MAX_REMEMBERED_TASKS
    options.purge_offline_workers = FORGET_WORKER_AFTER_SECONDS
