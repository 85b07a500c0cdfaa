"""The API's description: a document for programs, a page for people."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pydantic_core
from flask import Blueprint, Response, current_app, send_from_directory

from app.api import answers
from app.api.description import Described

TAG = "Documentation"

blueprint = Blueprint("docs", __name__)

OURS = Path(__file__).parent.parent / "console"
# The files alone: the package's own page has an inline script, which our Content-Security-Policy refuses.
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
# As everywhere, but for the icons that Swagger UI's style sheet holds as data.
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@blueprint.get("/api/openapi.json")
@Described(tag=TAG, gives=answers.Document, security=())
def document() -> Response:
    """Describe the API of this installation: OpenAPI 3.1."""
    known = current_app.extensions
    if "openapi" not in known:
        # Half a second that a process needs once, or never.
        from app.api import openapi  # noqa: PLC0415

        known["openapi"] = pydantic_core.to_json(openapi.document(current_app))
    return Response(known["openapi"], mimetype="application/json")


@blueprint.get("/api/docs")
@Described(tag=TAG, gives="<!doctype html>", media_type="text/html", security=())
def page() -> Response:
    """Show this document to people."""
    response = send_from_directory(OURS, "docs.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


@blueprint.get("/swagger-ui/<any('swagger-ui-bundle.js', 'swagger-ui.css'):name>")
def asset(name: str) -> Response:
    """Serve one of Swagger UI's files."""
    return send_from_directory(SWAGGER_UI, name)
