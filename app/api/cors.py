"""Which pages of other origins may read the API's answers (Fetch, section 3.2); without CORS_ORIGINS none may."""

from __future__ import annotations

import re

from flask import Flask
from flask_cors import CORS

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ALLOWED = ["Authorization", "Content-Type", "X-Request-ID", "Last-Event-ID", "If-Match", "Idempotency-Key"]
EXPOSED = ["X-Request-ID", "Retry-After", "ETag"]
# What a browser may remember of a preflight, in seconds.
MAX_AGE = 600


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
        methods=METHODS,
        allow_headers=ALLOWED,
        expose_headers=EXPOSED,
        max_age=MAX_AGE,
        supports_credentials=False,
        always_send=False,
    )
