"""One shape for every error: `{"error", "message", "code", "request_id", ...details}`."""

from __future__ import annotations

import re

import structlog
from flask import Flask, Response
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.api.error_schemas import ErrorBody, InternalError
from app.api.request_handling import current_request_id, json_response
from app.errors import AppError, PayloadTooLarge, RateLimited, ServiceUnavailable, Unauthorized

log = structlog.get_logger()


def init_app(app: Flask) -> None:
    """Answer whatever is raised."""
    app.register_error_handler(AppError, _answer_app_error)
    app.register_error_handler(HTTPException, _answer_http_exception)
    app.register_error_handler(OperationalError, _answer_database_unavailable)
    app.register_error_handler(PoolTimeout, _answer_database_unavailable)
    app.register_error_handler(Exception, _answer_unexpected_error)


def _answer_app_error(error: AppError) -> Response:
    fixed = {"error": error.title, "code": error.code, "request_id": current_request_id()}
    problem = ErrorBody(message=error.message, **fixed, **error.details)
    response = json_response(problem, status=error.status)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _answer_database_unavailable(error: SQLAlchemyError) -> Response:
    log.error("database_away", error=type(getattr(error, "orig", error)).__name__)
    return _answer_app_error(ServiceUnavailable("The database does not answer; nothing was changed, try again"))


def _answer_http_exception(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug raise: 404, 405, 413 and their like."""
    if error.code == PayloadTooLarge.status:
        return _answer_app_error(PayloadTooLarge("The body is too large"))
    name = error.name
    code = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    problem = ErrorBody(error=name, message=error.description or name, code=code, request_id=current_request_id())
    response = json_response(problem, status=error.code or 500)
    for header, value in error.get_headers():
        if header.lower() not in ("content-type", "content-length"):
            response.headers[header] = value
    return response


def _answer_unexpected_error(error: Exception) -> Response:
    """Answer the unexpected without its details, which go to the log."""
    log.error("unexpected_error", exc_info=error)
    return json_response(InternalError(request_id=current_request_id()), status=500)
