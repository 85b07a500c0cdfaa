"""Rita Data Sources: the Flask application. `create_app` is the only place where its parts are put together."""

from __future__ import annotations

from flask import Flask

from app import cli, extensions, logs, tracing
from app.api import init_app as init_api
from app.config import Settings
from app.jobs import Jobs
from app.outbound import webhook
from app.outbound.breaker import Breaker
from app.outbound.sealing import Seals

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application from the given settings, or from the environment.

    Raises SettingsError, which names all that is missing or unsafe.
    """
    settings = settings or Settings.from_environment()
    logs.configure(settings.log_level)
    app = Flask(__name__, static_folder=None)
    extensions.init_app(app, settings=settings)
    app.extensions["jobs"] = Jobs(settings)
    app.extensions["seals"] = Seals(app.extensions["redis"], keys=settings.seal_keys)
    app.extensions["breaker"] = Breaker(
        app.extensions["redis"], failures=settings.webhook_failures_to_park, probe=settings.webhook_probe_seconds
    )
    app.extensions["webhook_target"] = webhook.Target.from_settings(settings)
    tracing.instrument(app, settings)
    init_api(app)
    cli.init_app(app)
    return app
