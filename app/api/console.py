"""The built-in page: static files, no build step."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

blueprint = Blueprint("console", __name__)

FILES = Path(__file__).parent.parent / "console"


@blueprint.get("/")
def page() -> Response:
    """Serve the page."""
    return send_from_directory(FILES, "index.html")


@blueprint.get("/console/<path:name>")
def asset(name: str) -> Response:
    """Serve one of the page's files."""
    return send_from_directory(FILES, name)
