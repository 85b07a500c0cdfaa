"""What every request gets: an id, its log line, and a body that is JSON of the right shape or a clear answer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, MutableMapping
from typing import Any, TypeVar
from uuid import uuid4

import pydantic_core
import structlog
from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import ClientDisconnected, NotFound
from werkzeug.http import parse_date
from werkzeug.routing import RequestRedirect

from app import errors
from app.domain import texts

log = structlog.get_logger()

# The largest honest body is a configuration; see schemas.LARGEST_CONFIG.
MAX_BODY_BYTES = 320 * 1024
# Arrays and objects of a body, each of which Python's garbage collector goes through again and again as long as a
# configuration of them is read, answered or stored. The longest list of names is one.
MAX_BODY_CONTAINERS = 5_000
_JSON_STRING_PATTERN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# Of what is wrong with a body: nobody fixes more at once, and an answer must not outgrow what it answers.
MAX_REPORTED_PROBLEMS, MAX_FIELD_PATH_LENGTH = 20, 100
INCOMPLETE_BODY_MESSAGE = "The body ends early, or its chunks are framed wrongly"
# Of a path, in a log line: the longest of ours is half as long.
MAX_LOGGED_PATH_LENGTH = 200
# What of a request is read as a date, of a file that is to be sent.
_DATE_VARIABLES = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE")
_REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

ModelType = TypeVar("ModelType", bound=BaseModel)

# No Strict-Transport-Security: TLS ends at the proxy, which alone knows whether it does; see SECURITY.md.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def init_app(app: Flask) -> None:
    """Bind an id to each request, and answer and log it."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_bind_request_id)
    app.after_request(_add_headers_and_log)


def current_request_id() -> str:
    """Return this request's id: the caller's, if it is one, else ours."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID_PATTERN.fullmatch(given) else str(uuid4())
    return str(g.request_id)


def parse_json_body(model: type[ModelType], *, optional: bool = False) -> ModelType:
    """Return the request's body as `model`; `optional` takes an empty one as `{}`.

    Raises UnsupportedMediaType, MalformedBody, MalformedJson, PayloadTooLarge, or Invalid with each field that is
    wrong. No answer repeats a value that was sent; of a key that is wrong it tells its sender the beginning.
    """
    try:
        content = request.get_data(cache=False)
    except (ParseException, ClientDisconnected, OSError) as problem:
        log.info("body_malformed", error=type(problem).__name__)
        raise errors.MalformedBody(INCOMPLETE_BODY_MESSAGE) from None
    if request.content_length is not None and len(content) < min(request.content_length, MAX_BODY_BYTES):
        raise errors.MalformedBody(INCOMPLETE_BODY_MESSAGE)
    if len(content) >= MAX_BODY_BYTES and request.content_length != len(content):
        # A body in chunks is cut at the limit; what is left of it must not pass for the whole.
        raise errors.PayloadTooLarge("The body is too large")
    if not content and optional:
        return model()
    if not request.is_json:
        raise errors.UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json")
    _limit_containers(content)
    try:
        return model.model_validate_json(content)
    except ValidationError as invalid:
        problems = invalid.errors(include_input=False, include_url=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        raise errors.MalformedJson(f"The body is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}")
    fields = [
        {"field": field_path_text(problem["loc"]), "message": problem["msg"].removeprefix("Value error, ")}
        for problem in problems[:MAX_REPORTED_PROBLEMS]
    ]
    raise errors.Invalid("; ".join(f"{field['field']}: {field['message']}" for field in fields[:3]), errors=fields)


def _limit_containers(content: bytes) -> None:
    """Refuse JSON of more than MAX_BODY_CONTAINERS arrays and objects, before any of them is made.

    Raises Invalid, and MalformedJson where they are not closed.
    """
    # Those in texts are none, and most bodies have few of both.
    if content.count(b"[") + content.count(b"{") <= MAX_BODY_CONTAINERS:
        return
    without_texts = _JSON_STRING_PATTERN.sub(b"", content)
    opened = without_texts.count(b"[") + without_texts.count(b"{")
    if opened <= MAX_BODY_CONTAINERS:
        return
    if opened != without_texts.count(b"]") + without_texts.count(b"}"):
        raise errors.MalformedJson("The body is not JSON: its arrays and objects are not all closed")
    message = f"must not have more than {MAX_BODY_CONTAINERS} arrays and objects"
    raise errors.Invalid(f"body: {message}", errors=[{"field": "body", "message": message}])


def field_path_text(location: Iterable[str | int]) -> str:
    """Return a place inside a body as words that fit an answer, whatever its keys are."""
    return ".".join(map(str, location))[:MAX_FIELD_PATH_LENGTH] or "body"


def json_response(payload: Any, *, status: int = 200) -> Response:
    """Answer with JSON; ids and moments are written as strings (ISO 8601, UTC)."""
    return Response(pydantic_core.to_json(payload), status=status, mimetype="application/json")


def _bind_request_id() -> None:
    g.started = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=current_request_id())
    # No address is answered with another, which would name the host that the request claims to be for; and none stands
    # for another, as one with more slashes in front does for Werkzeug; a proxy's rules are for what it has read.
    if isinstance(request.routing_exception, RequestRedirect) or request.environ["PATH_INFO"].startswith("//"):
        raise NotFound
    _replace_unreadable_dates(request.environ)


def _replace_unreadable_dates(environ: MutableMapping[str, Any]) -> None:
    """Make no date of one whose year is too large for C: Werkzeug (3.1) expects any other mistake."""
    for name in _DATE_VARIABLES:
        try:
            parse_date(environ.get(name))
        except OverflowError:
            environ[name] = "-"


def _add_headers_and_log(response: Response) -> Response:
    response.headers["X-Request-ID"] = current_request_id()
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    # The path alone: a query string may hold a ticket.
    log.info(
        "http_request",
        client=request.remote_addr,
        method=request.method,
        path=texts.truncate(request.path, max_length=MAX_LOGGED_PATH_LENGTH),
        status=response.status_code,
        duration_ms=round((time.monotonic() - g.get("started", time.monotonic())) * 1000, 1),
    )
    return response
