"""The API's description: a document for programs, a page for people."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pydantic_core
from flask import Blueprint, Response, current_app, send_from_directory

from app.api import responses
from app.api.endpoint_docs import EndpointDocs

OPENAPI_TAG = "Documentation"

blueprint = Blueprint("docs", __name__)

CONSOLE_DIRECTORY = Path(__file__).parent.parent / "console"
# The files alone: the package's own page has an inline script, which our Content-Security-Policy refuses.
SWAGGER_UI_DIRECTORY = Path(str(files("flask_swagger_ui"))) / "dist"
# As everywhere, but for the icons that Swagger UI's style sheet holds as data.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@blueprint.get("/api/openapi.json")
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.Document, security_schemes=())
def document() -> Response:
    """Describe the API of this installation: OpenAPI 3.1."""
    known = current_app.extensions
    if "openapi" not in known:
        # Half a second that a process needs once, or never.
        from app.api import openapi  # noqa: PLC0415

        known["openapi"] = pydantic_core.to_json(openapi.openapi_document(current_app))
    return Response(known["openapi"], mimetype="application/json")


@blueprint.get("/api/docs")
@EndpointDocs(tag=OPENAPI_TAG, response_model="<!doctype html>", media_type="text/html", security_schemes=())
def page() -> Response:
    """Show this document to people."""
    response = send_from_directory(CONSOLE_DIRECTORY, "docs.html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@blueprint.get("/swagger-ui/<any('swagger-ui-bundle.js', 'swagger-ui.css'):name>")
def asset(name: str) -> Response:
    """Serve one of Swagger UI's files."""
    return send_from_directory(SWAGGER_UI_DIRECTORY, name)
