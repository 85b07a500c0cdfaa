"""Looking for credentials in what somebody configures, without making anybody else wait for it.

The largest configuration takes tenths of a second of the processor, and a web process has one thread for everybody. So
a large one is looked through in pieces, between which others have their turn, and of an organization's one at a time.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, request

from app.api import read_limits
from app.api.request_bodies import ConfigureBody
from app.domain import credential_detection
from app.outbound.concurrency_limits import ConcurrencyLimits

# Bodies that are looked through in one go, in bytes: in some milliseconds.
UNLIMITED_BODY_BYTES = 8 * 1024
# In seconds. Of a sleep of nothing gevent's loop makes no turn in which it looks at its sockets.
YIELD_SECONDS = 0.001


def init_app(app: Flask) -> None:
    """Make the gates through which large configurations go."""
    app.extensions["credential_scan_limits"] = ConcurrencyLimits(1)


def checked_fields(request_body: ConfigureBody) -> dict[str, Any]:
    """Return the fields to set. Raises SecretRefused, and RateLimited where too many large ones wait."""
    # A body in chunks does not say how long it is.
    if request.content_length is not None and request.content_length <= UNLIMITED_BODY_BYTES:
        return request_body.checked_fields()
    reason = "Many large configurations of your organization are being looked at"
    with read_limits.turn_of_organization("credential_scan_limits", reason):
        return request_body.checked_fields(on_progress=_YieldToOthers())


class _YieldToOthers:
    """Lets others have a turn after each piece."""

    def __init__(self) -> None:
        self._looked_at = 0

    def __call__(self, count: int) -> None:
        self._looked_at += count
        if self._looked_at >= credential_detection.SCAN_CHUNK_LENGTH:
            self._looked_at = 0
            time.sleep(YIELD_SECONDS)
