"""The Flask applications, and the only place where their parts are put together: each process gets what it uses."""

from __future__ import annotations

from flask import Flask

from app import extensions, logs, tracing
from app.config import Settings
from app.outbound.credential_store import CredentialStore

# Each part is imported where it is added: of two thousand modules a worker uses half, and each costs time and memory.
# ruff: noqa: PLC0415


def create_web_app(settings: Settings) -> Flask:
    """Build what answers requests and runs the operators' commands, which may do without what requests need."""
    from app import api, cli
    from app.jobs import JobSender

    app = create_base_app(settings)
    if settings.rabbitmq_url:
        app.extensions["job_sender"] = JobSender(settings)
    if settings.can_serve_requests:
        api.init_app(app)
    cli.init_app(app)
    return app


def create_webhook_worker_app(settings: Settings) -> Flask:
    """Build what delivers webhooks and keeps house."""
    from app.jobs import JobSender
    from app.outbound import webhook
    from app.outbound.circuit_breaker import CircuitBreaker

    app = create_base_app(settings)
    app.extensions["job_sender"] = JobSender(settings)
    threshold, interval = settings.webhook_failures_to_park, settings.webhook_probe_seconds
    breaker = CircuitBreaker(app.extensions["redis"], failure_threshold=threshold, probe_interval=interval)
    app.extensions["circuit_breaker"] = breaker
    app.extensions["webhook_target"] = webhook.WebhookTarget.from_settings(settings)
    return app


def create_base_app(settings: Settings) -> Flask:
    """Build what applies status messages; the other applications add to it."""
    logs.configure_logging(settings.log_level)
    app = Flask("app", static_folder=None)
    extensions.init_app(app, settings=settings)
    if settings.redis_url:
        app.extensions["credential_store"] = CredentialStore(app.extensions["redis"], keys=settings.seal_keys or ())
    tracing.instrument_flask(app, settings)
    return app
