"""Bound how many reads of one organization run at a time: a request of a few bytes may be answered with megabytes.

Without this, whoever asks over many connections would have all of a process's connections to the database, and nobody
else a turn. A large answer counts until it has been read, because it is in our memory until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, cast

from flask import Flask, Response, current_app

from app import errors
from app.api import auth
from app.outbound.gates import Crowded, Gates

# A third of the process's connections to the database. More would make nobody's answers quicker: a process computes one
# at a time.
AT_ONCE = 4
# How long one waits for the others, and how long its sender is then to wait, in seconds.
WAITS, CROWDED = 10.0, 10
# An answer that is longer, in bytes, may have to wait for its reader.
LARGE = 64 * 1024


def init_app(app: Flask) -> None:
    """Make the gates through which requests go."""
    app.extensions["reading"] = Gates(AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Read for the caller's organization. Raises RateLimited where too many wait."""
    gates = cast(Gates, current_app.extensions["reading"])
    with ExitStack() as place:
        try:
            place.enter_context(gates.through(str(auth.current().organization_id), within=WAITS))
        except Crowded:
            raise errors.RateLimited(
                f"Many answers to your organization are being read; try again in {CROWDED} seconds",
                retry_after=CROWDED,
            ) from None
        yield


def in_turn(view: Callable[..., Response]) -> Callable[..., Response]:
    """Let a view read in its turn."""

    @wraps(view)
    def answer(*args: Any, **options: Any) -> Response:
        with ExitStack() as place:
            place.enter_context(turn())
            response = view(*args, **options)
            if (response.content_length or 0) > LARGE:
                response.call_on_close(place.pop_all().close)
            return response

    return answer
