"""The Flask applications, and the only place where their parts are put together: each process gets what it uses."""

from __future__ import annotations

from flask import Flask

from app import extensions, logs, tracing
from app.config import Settings
from app.outbound.sealing import Seals

# Each part is imported where it is added: of two thousand modules a worker uses half, and each costs time and memory.
# ruff: noqa: PLC0415


def web(settings: Settings) -> Flask:
    """Build what answers requests and runs the operators' commands, which may do without what requests need."""
    from app import api, cli
    from app.jobs import Jobs

    app = _base(settings)
    if settings.rabbitmq_url:
        app.extensions["jobs"] = Jobs(settings)
    if settings.serves:
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
    if settings.redis_url:
        app.extensions["seals"] = Seals(app.extensions["redis"], keys=settings.seal_keys or ())
    tracing.instrument(app, settings)
    return app
