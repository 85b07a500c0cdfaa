"""The Celery applications on the session's servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType

import pytest
from flask import Flask

from app.config import Settings
from app.extensions import db
from tasks.flask_context import flask_app_of


def _as_environment(settings: Settings) -> dict[str, str]:
    """Write settings as the environment variables that they would come from."""
    return {name.upper(): _as_text(value) for name, value in settings.model_dump(exclude_none=True).items()}


def _as_text(value: object) -> str:
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    if isinstance(value, tuple):
        return ",".join(map(_as_text, value))
    return str(value)


@pytest.fixture(scope="session")
def celery_module(settings: Settings, flask_app: Flask) -> Iterator[ModuleType]:
    """`tasks.celery`, which reads the environment when it is first imported, with both workers' tasks."""
    assert flask_app.extensions["settings"] is settings
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _as_environment(settings).items():
            environment.setenv(name, value)
        from tasks import celery, worker_setup  # noqa: PLC0415 - not before the environment is set

        assert celery.settings.rabbitmq_url == settings.rabbitmq_url, "tasks was imported by somebody else before"
        for celery_app in (celery.app, celery.status_app):
            worker_setup.set_up_worker(celery_app)
    yield celery
    for celery_app in (celery.app, celery.status_app):
        made = flask_app_of(celery_app)
        with made.app_context():
            db.engine.dispose()
        made.extensions["redis"].close()
