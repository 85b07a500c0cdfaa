"""Flower as it is started here: nothing without the password, its figures and its health neither."""

from __future__ import annotations

from flower.views.monitor import Healthcheck, Metrics
from tornado.web import authenticated


def demand_password() -> None:
    """Have Flower ask for the password where it asks for none: its figures name workers and tasks to everybody."""
    for page in (Metrics, Healthcheck):
        page.get = authenticated(page.get)
