"""Looking for credentials in what somebody configures, without making anybody else wait for it.

The largest configuration takes tenths of a second of the processor, and a web process has one thread for everybody. So
a large one is looked through in pieces, between which others have their turn, and of an organization's one at a time.
"""

from __future__ import annotations

import time
from typing import Any, cast

from flask import Flask, current_app, request

from app import errors
from app.api import auth
from app.api.schemas import ConfigureBody
from app.domain import secrets
from app.outbound.gates import Crowded, Gates

# Bodies that are looked through in one go, in bytes: in some milliseconds.
SMALL = 8 * 1024
# In seconds. Of a sleep of nothing gevent's loop makes no turn in which it looks at its sockets.
A_TURN = 0.001
# How long a large one waits for others of its organization, and how long its sender is then to wait, in seconds.
WAITS, CROWDED = 10.0, 10


def init_app(app: Flask) -> None:
    """Make the gates through which large configurations go."""
    app.extensions["looking"] = Gates(1)


def fields_of(sent: ConfigureBody) -> dict[str, Any]:
    """Return the fields to set. Raises SecretRefused, and RateLimited where too many large ones wait."""
    # A body in chunks does not say how long it is.
    if request.content_length is not None and request.content_length <= SMALL:
        return sent.sent()
    gates = cast(Gates, current_app.extensions["looking"])
    try:
        with gates.through(str(auth.current().organization_id), within=WAITS):
            return sent.sent(rest=_Turns())
    except Crowded:
        raise errors.RateLimited(
            f"Many large configurations of your organization are being looked at; try again in {CROWDED} seconds",
            retry_after=CROWDED,
        ) from None


class _Turns:
    """Lets others have a turn after each piece."""

    def __init__(self) -> None:
        self._looked_at = 0

    def __call__(self, count: int) -> None:
        self._looked_at += count
        if self._looked_at >= secrets.PIECE:
            self._looked_at = 0
            time.sleep(A_TURN)
