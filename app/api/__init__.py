"""The HTTP entry point: parse, one unit of work, answer."""

from __future__ import annotations

from importlib import import_module

from flask import Flask

# In this order; the last of them to be added sees a request first.
REQUEST_HOOK_MODULES = ("trusted_proxies", "request_handling", "errors", "auth", "cors")
ENDPOINT_MODULES = (
    "data_sources", "operations", "history", "overview", "source_types", "me", "stream", "health", "metrics", "docs",
    "console",
)  # fmt: skip


def init_app(app: Flask) -> None:
    """Register every endpoint, and the one error shape for whatever goes wrong in them or around them.

    They are imported here, for a worker serves its metrics through one of them and uses no other.
    """
    # See `requests`: no address stands for another.
    app.url_map.merge_slashes = False
    for name in (*REQUEST_HOOK_MODULES, "stream", "credential_scan", "read_limits", "health"):
        import_module(f"app.api.{name}").init_app(app)
    for name in ENDPOINT_MODULES:
        app.register_blueprint(import_module(f"app.api.{name}").blueprint)
