"""The application's OpenAPI document, and what checks JSON against it."""

from __future__ import annotations

from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator


def document_of(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/api/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    return dict(answer.json)


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    """Return what checks JSON against one of the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
