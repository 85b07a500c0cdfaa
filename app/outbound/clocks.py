"""How far the clocks of the processes' hosts are from the database's, as the processes say while they work.

For whoever looks for what is wrong: nothing goes by these clocks (docs/decisions/0028).
"""

from __future__ import annotations

import math
import socket
from datetime import UTC, datetime

import structlog
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

PREFIX = "rita:clock:"
# In seconds: what has not worked for as long is no longer spoken of.
KEPT = 600
# In seconds. What is further away, or no number at all, was not written by a clock.
FURTHEST = 1e9


def note(redis: Redis, process: str, *, now: datetime) -> None:
    """Keep how far this host's clock is from the database's, which says `now`."""
    _note(redis, f"{process} on {socket.gethostname()}", _seconds_apart(datetime.now(UTC).timestamp(), now))


def note_of_beat(redis: Redis, said: object, *, now: datetime) -> None:
    """Keep how far beat's clock is, which said this, in seconds since 1970, with a job; anybody may have."""
    if isinstance(said, int | float) and math.isfinite(said) and abs(said) < FURTHEST * 10:
        _note(redis, "beat", _seconds_apart(said, now))


def seen(redis: Redis) -> dict[str, float]:
    """Return, by process, by how many seconds its clock is ahead of the database's. Raises redis.RedisError."""
    found = {}
    for key in redis.scan_iter(f"{PREFIX}*", count=1_000):
        try:
            found[key.decode(errors="replace").removeprefix(PREFIX)] = float(redis.get(key) or "")
        except ValueError:
            # Gone since, or not ours.
            continue
    return {name: ahead for name, ahead in found.items() if abs(ahead) < FURTHEST}


def _seconds_apart(said: float, now: datetime) -> float:
    return said - now.timestamp()


def _note(redis: Redis, name: str, ahead: float) -> None:
    try:
        redis.set(f"{PREFIX}{name}", f"{ahead:.3f}", ex=KEPT)
    except RedisError as problem:
        log.warning("clock_not_noted", process=name, error=type(problem).__name__)
