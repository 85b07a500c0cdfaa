"""The HTTP door: parse, one unit of work, answer."""

from __future__ import annotations

from flask import Flask

from app.api import (
    auth,
    console,
    cors,
    data_sources,
    docs,
    errors,
    health,
    history,
    me,
    metrics,
    operations,
    requests,
    source_types,
    stream,
)


def init_app(app: Flask) -> None:
    """Register every endpoint, and the one error shape for whatever goes wrong in them or around them."""
    requests.init_app(app)
    errors.init_app(app)
    auth.init_app(app)
    cors.init_app(app)
    stream.init_app(app)
    for module in (data_sources, operations, history, source_types, me, stream, health, metrics, docs, console):
        app.register_blueprint(module.blueprint)
