"""How often an organization may ask for what costs others work, counted in Redis over a moving window."""

from __future__ import annotations

import math
import time
from typing import cast

import structlog
from flask import Flask, current_app
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from app import errors, extensions
from app.api import auth
from app.setting_types import OFF

log = structlog.get_logger()

PREFIX = "rita:limits"


def init_app(app: Flask) -> None:
    """Make the application's limiter, on the pool of its Redis client and with its short timeouts."""
    # The pool has the address.
    storage = storage_from_string(
        "redis://", connection_pool=app.extensions["redis"].connection_pool, key_prefix=PREFIX
    )
    app.extensions["rate_limiter"] = MovingWindowRateLimiter(storage)


def spend_change() -> None:
    """Count a change that the caller asks for: each costs a row, an audit row and an event. Raises RateLimited."""
    spend("change", limit=extensions.settings().change_rate_limit)


def spend(name: str, *, limit: str) -> None:
    """Count one request of the caller's organization against a limit. Raises RateLimited.

    Without Redis nothing is counted and every request passes: the limit protects others' time, not anyone's rows.
    """
    if limit == OFF:
        return
    strategy = cast(MovingWindowRateLimiter, current_app.extensions["rate_limiter"])
    item = parse(limit)
    try:
        if strategy.hit(item, name, _organization()):
            return
        reset_at = strategy.get_window_stats(item, name, _organization()).reset_time
    except RedisError as problem:
        log.warning("rate_limit_not_checked", limit=name, error=type(problem).__name__)
        return
    seconds = max(1, math.ceil(reset_at - time.time()))
    log.info("rate_limited", limit=name)
    raise errors.RateLimited(
        f"Your organization has asked too often (the limit is {limit}); try again in {seconds} seconds",
        retry_after=seconds,
    )


def _organization() -> str:
    # The verified identity's, never an address or a parameter: those are the caller's to choose.
    return str(auth.current().organization_id)
