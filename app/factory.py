"""The Flask applications, and the only place where their parts are put together: each process gets what it uses."""

from __future__ import annotations

from flask import Flask

from app import extensions, logs, tracing
from app.config import Settings
from app.outbound.sealing import Seals

# Each part is imported where it is added: of two thousand modules a worker uses half, and each costs time and memory.
# ruff: noqa: PLC0415


def web(settings: Settings | None = None) -> Flask:
    """Build what answers requests and runs the operators' commands.

    Raises SettingsError, which names all that is missing or unsafe.
    """
    from app import api, cli
    from app.jobs import Jobs

    app = _base(settings or Settings.from_environment())
    app.extensions["jobs"] = Jobs(extensions.settings_of(app))
    api.init_app(app)
    cli.init_app(app)
    return app


def status_worker(settings: Settings) -> Flask:
    """Build what applies status messages."""
    return _base(settings)


def webhook_worker(settings: Settings) -> Flask:
    """Build what delivers webhooks and keeps house."""
    from app.jobs import Jobs
    from app.outbound import webhook
    from app.outbound.breaker import Breaker

    app = _base(settings)
    app.extensions["jobs"] = Jobs(settings)
    app.extensions["breaker"] = Breaker(
        app.extensions["redis"], failures=settings.webhook_failures_to_park, probe=settings.webhook_probe_seconds
    )
    app.extensions["webhook_target"] = webhook.Target.from_settings(settings)
    return app


def _base(settings: Settings) -> Flask:
    logs.configure(settings.log_level)
    app = Flask("app", static_folder=None)
    extensions.init_app(app, settings=settings)
    app.extensions["seals"] = Seals(app.extensions["redis"], keys=settings.seal_keys)
    tracing.instrument(app, settings)
    return app
