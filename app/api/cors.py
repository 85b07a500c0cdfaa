"""Which pages of other origins may read the API's answers (Fetch, section 3.2); without CORS_ORIGINS none may."""

from __future__ import annotations

import re

from flask import Flask
from flask_cors import CORS

ALLOWED_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ALLOWED_HEADERS = ["Authorization", "Content-Type", "X-Request-ID", "Last-Event-ID", "If-Match", "Idempotency-Key"]
EXPOSED_HEADERS = ["X-Request-ID", "Retry-After", "ETag"]
# What a browser may remember of a preflight, in seconds.
PREFLIGHT_CACHE_SECONDS = 600


def init_app(app: Flask) -> None:
    """Answer the origins on the list, and nobody's cookies: a token in a header is all that signs in."""
    origins = app.extensions["settings"].cors_origins
    if not origins:
        return
    CORS(
        app,
        resources=r"/api/.*",
        # As whole patterns: the library would take the brackets of an IPv6 address for a pattern of its own.
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=ALLOWED_METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=PREFLIGHT_CACHE_SECONDS,
        supports_credentials=False,
        always_send=False,
    )
