"""How far the clocks of the processes' hosts are from the database's, as the processes say while they work.

For whoever looks for what is wrong: nothing goes by these clocks (docs/decisions/0028).
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import structlog
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

REDIS_KEY_PREFIX = "rita:clock:"
# In seconds: what has not worked for as long is no longer spoken of.
OFFSET_LIFETIME_SECONDS = 600
# In seconds. What is further away, or no number at all, was not written by a clock.
MAX_OFFSET_SECONDS = 1e9


def record_host_clock_offset(redis: Redis, process_name: str, *, database_time: datetime) -> None:
    """Keep how far this host's clock is from the database's, which says `database_time`."""
    offset = _offset_seconds(datetime.now(UTC).timestamp(), database_time)
    _store_offset(redis, f"{process_name} on {socket.gethostname()}", offset)


def record_beat_clock_offset(redis: Redis, beat_timestamp: object, *, database_time: datetime) -> None:
    """Keep how far beat's clock is, which said this, in seconds since 1970, with a job; anybody may have."""
    # No number is as large as infinity, and NaN compares with none.
    if isinstance(beat_timestamp, int | float) and abs(beat_timestamp) < MAX_OFFSET_SECONDS * 10:
        _store_offset(redis, "beat", _offset_seconds(beat_timestamp, database_time))


def clock_offsets_by_process(redis: Redis) -> dict[str, float]:
    """Return, by process, by how many seconds its clock is ahead of the database's. Raises redis.RedisError."""
    found = {}
    for key in redis.scan_iter(f"{REDIS_KEY_PREFIX}*", count=1_000, _type="STRING"):
        try:
            found[key.decode(errors="replace").removeprefix(REDIS_KEY_PREFIX)] = float(redis.get(key) or "")
        except ValueError:
            # Gone since, or not ours.
            continue
    return {name: ahead for name, ahead in found.items() if abs(ahead) < MAX_OFFSET_SECONDS}


def _offset_seconds(timestamp: float, database_time: datetime) -> float:
    return timestamp - database_time.timestamp()


def _store_offset(redis: Redis, name: str, offset_seconds: float) -> None:
    try:
        redis.set(f"{REDIS_KEY_PREFIX}{name}", f"{offset_seconds:.3f}", ex=OFFSET_LIFETIME_SECONDS)
    except RedisError as problem:
        log.warning("clock_not_noted", process=name, error=type(problem).__name__)
