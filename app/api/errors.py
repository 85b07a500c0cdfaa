"""One shape for every error: `{"error", "message", "code", "request_id", ...details}`."""

from __future__ import annotations

import re

import structlog
from flask import Flask, Response
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.api.problems import InternalError, Problem
from app.api.requests import answer, request_id
from app.errors import AppError, PayloadTooLarge, RateLimited, ServiceUnavailable, Unauthorized

log = structlog.get_logger()


def init_app(app: Flask) -> None:
    """Answer whatever is raised."""
    app.register_error_handler(AppError, _expected)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(OperationalError, _database_away)
    app.register_error_handler(PoolTimeout, _database_away)
    app.register_error_handler(Exception, _bug)


def _expected(error: AppError) -> Response:
    problem = Problem(
        error=error.title, message=error.message, code=error.code, request_id=request_id(), **error.details
    )
    response = answer(problem, status=error.status)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _database_away(error: SQLAlchemyError) -> Response:
    log.error("database_away", error=type(getattr(error, "orig", error)).__name__)
    return _expected(ServiceUnavailable("The database does not answer; nothing was changed, try again"))


def _of_http(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug raise: 404, 405, 413 and their like."""
    if error.code == PayloadTooLarge.status:
        return _expected(PayloadTooLarge("The body is too large"))
    name = error.name
    code = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    problem = Problem(error=name, message=error.description or name, code=code, request_id=request_id())
    response = answer(problem, status=error.code or 500)
    for header, value in error.get_headers():
        if header.lower() not in ("content-type", "content-length"):
            response.headers[header] = value
    return response


def _bug(error: Exception) -> Response:
    """Answer the unexpected without its details, which go to the log."""
    log.error("unexpected_error", exc_info=error)
    return answer(InternalError(request_id=request_id()), status=500)
