"""Bound how much of one organization runs at a time: a request of a few bytes may be answered with megabytes.

Without this, whoever asks over many connections would have all of a process's connections to the database, and nobody
else a turn: changes of one data source wait for each other, each with a connection. A large answer counts until it has
been read, because it is in our memory until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, cast

from flask import Flask, Response, current_app

from app import errors
from app.api import auth
from app.outbound.concurrency_limits import ConcurrencyLimits, ConcurrencyLimitTimeout

# A third of the process's connections to the database, of either. More would make nobody's answers quicker: a process
# computes one at a time.
MAX_CONCURRENT_READS = MAX_CONCURRENT_CHANGES = 4
# How long one waits for the others, and how long its sender is then to wait, in seconds.
MAX_WAIT_SECONDS, RETRY_AFTER_SECONDS = 10.0, 10
# An answer that is longer, in bytes, may have to wait for its reader.
LARGE_RESPONSE_BYTES = 64 * 1024


def init_app(app: Flask) -> None:
    """Make the gates through which requests go."""
    app.extensions["read_limits"] = ConcurrencyLimits(MAX_CONCURRENT_READS)
    app.extensions["change_limits"] = ConcurrencyLimits(MAX_CONCURRENT_CHANGES)


@contextmanager
def limited_read() -> Iterator[None]:
    """Read for the caller's organization. Raises RateLimited where too many wait."""
    with turn_of_organization("read_limits", "Many answers to your organization are being read"):
        yield


@contextmanager
def limited_change() -> Iterator[None]:
    """Change something for the caller's organization. Raises RateLimited where too many wait."""
    with turn_of_organization("change_limits", "Your organization changes much at once"):
        yield


@contextmanager
def turn_of_organization(limits_name: str, reason: str) -> Iterator[None]:
    """Take a place of the caller's organization in one of the application's limits, for as long as this lasts.

    Raises RateLimited, for that reason, where too many wait.
    """
    limits = cast(ConcurrencyLimits, current_app.extensions[limits_name])
    organization_id = str(auth.current_identity().organization_id)
    with ExitStack() as place:
        try:
            place.enter_context(limits.acquire(organization_id, timeout_seconds=MAX_WAIT_SECONDS))
        except ConcurrencyLimitTimeout:
            raise too_many_at_once(reason) from None
        yield


def too_many_at_once(reason: str) -> errors.RateLimited:
    """Return what somebody is told who would have to wait too long for others of their organization."""
    return errors.RateLimited(f"{reason}; try again in {RETRY_AFTER_SECONDS} seconds", retry_after=RETRY_AFTER_SECONDS)


def limit_concurrent_reads(view: Callable[..., Response]) -> Callable[..., Response]:
    """Let a view read in its turn."""

    @wraps(view)
    def answer(*args: Any, **options: Any) -> Response:
        with ExitStack() as place:
            place.enter_context(limited_read())
            response = view(*args, **options)
            if (response.content_length or 0) > LARGE_RESPONSE_BYTES:
                response.call_on_close(place.pop_all().close)
            return response

    return answer
