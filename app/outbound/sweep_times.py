"""When the sweeps were last made: what is due is sent, and what is overdue ended, only as long as somebody makes them.

An age is what is left of a key's time to live, so it is of Redis' clock alone, whoever sweeps and whoever asks.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

REDIS_KEY_PREFIX = "rita:sweep:"
DISPATCH_SWEEP, EXPIRE_SWEEP = "dispatch", "expire"
# What is older than this, or was never made, has no age.
TIME_TO_LIVE = timedelta(days=1)


def record_sweep(redis: Redis, sweep_name: str) -> None:
    """Keep that a sweep was made just now."""
    try:
        redis.set(f"{REDIS_KEY_PREFIX}{sweep_name}", "1", px=TIME_TO_LIVE)
    except RedisError as problem:
        log.warning("sweep_not_noted", sweep=sweep_name, error=type(problem).__name__)


def sweep_age(redis: Redis, sweep_name: str) -> timedelta | None:
    """Return how long ago a sweep was made, None if not for a day. Raises redis.RedisError."""
    left = redis.pttl(f"{REDIS_KEY_PREFIX}{sweep_name}")
    if left < 0:
        return None
    # A time to live that is longer is not ours, and might fit no timedelta.
    return TIME_TO_LIVE - timedelta(milliseconds=min(left, TIME_TO_LIVE // timedelta(milliseconds=1)))
