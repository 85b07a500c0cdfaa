"""The HTTP door: parse, one unit of work, answer."""

from __future__ import annotations

from flask import Flask

from app.api import auth, console, cors, data_sources, errors, health, limits, metrics, operations, requests, stream


def init_app(app: Flask) -> None:
    """Register every endpoint, and the one error shape for whatever goes wrong in them or around them."""
    requests.init_app(app)
    errors.init_app(app)
    auth.init_app(app)
    limits.init_app(app)
    cors.init_app(app)
    stream.init_app(app)
    for module in (data_sources, operations, stream, health, metrics, console):
        app.register_blueprint(module.blueprint)
