"""The Flask application that tasks run in: one for each of the two Celery applications, made when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from celery import Celery, Task

from app.config import Settings

if TYPE_CHECKING:
    from flask import Flask

# What Celery's application of the status worker is called.
STATUS_APP_NAME = "rita-status"


class FlaskContextTask(Task):
    """A task that runs inside the Flask application's context: a session of its own, removed at the end."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        with flask_app_of(self.app).app_context():
            return self.run(*args, **kwargs)


@cache
def flask_app_of(celery_app: Celery) -> Flask:
    """Return the Flask application that a Celery application's tasks run in.

    Raises SettingsError, which names all that is missing or unsafe.
    """
    from app import factory  # noqa: PLC0415 - not in beat and Flower

    if is_status_app(celery_app):
        return factory.create_base_app(Settings.from_environment("worker"))
    return factory.create_webhook_worker_app(Settings.from_environment("webhook_worker"))


def is_status_app(celery_app: Celery) -> bool:
    """Tell the Celery application of the status worker from that of the webhook worker, beat and Flower."""
    return bool(celery_app.main == STATUS_APP_NAME)
