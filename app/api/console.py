"""The built-in page: static files, no build step; and where a platform hands its person's token over to it."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from app import errors, extensions
from app.api.request_handling import json_response

blueprint = Blueprint("console", __name__)

CONSOLE_DIRECTORY = Path(__file__).parent.parent / "console"


@blueprint.get("/")
def page() -> Response:
    """Serve the page."""
    return send_from_directory(CONSOLE_DIRECTORY, "index.html")


@blueprint.get("/console/<path:name>")
def asset(name: str) -> Response:
    """Serve one of the page's files."""
    return send_from_directory(CONSOLE_DIRECTORY, name)


@blueprint.get("/hand-over")
def hand_over() -> Response:
    """Serve the page that takes a token from the page that opened it, if that is of an origin in CORS_ORIGINS."""
    _require_cors_origins()
    response = send_from_directory(CONSOLE_DIRECTORY, "hand-over.html")
    # Else it would not know who opened it. It shows nothing, and keeps nothing that another page could reach.
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    return response


@blueprint.get("/hand-over/origins")
def origins() -> Response:
    """List the origins that may."""
    return json_response(_require_cors_origins())


def _require_cors_origins() -> list[str]:
    if not (named := extensions.settings().cors_origins):
        raise errors.NotFound("A token is handed over where CORS_ORIGINS is set")
    return list(named)
