"""Whether the external service takes requests at present: a circuit breaker that all webhook workers share.

After a row of attempts that all found it down, attempts stop but for one probe at a time; what is due meanwhile waits
without spending an attempt. The first answer of any kind closes the circuit again. See
`docs/decisions/0010-circuit-breaker.md`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import structlog
from flask import current_app
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

PREFIX = "rita:receiver:"
# With no attempt for this long, what was known of the receiver is worth nothing any more.
FORGOTTEN_AFTER = timedelta(hours=1)

# Of a count: far more than a day of attempts.
MOST_DIGITS = 9

# KEYS: failures in a row, the probe. ARGV: how many failures open the circuit, the milliseconds between two probes.
# Returns the milliseconds to wait, 0 for whoever may go.
_ASK = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return 0 end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then return 0 end
return math.max(1, math.min(redis.call('PTTL', KEYS[2]), tonumber(ARGV[2])))
"""


class Breaker:
    """Closed until `failures` attempts in a row found the receiver down; then open but for a probe every `probe`."""

    def __init__(self, redis: Redis, *, failures: int, probe: timedelta) -> None:
        self._redis = redis
        self._failures = failures
        self._probe = probe
        self._keys = [f"{PREFIX}failures", f"{PREFIX}probe"]
        self._ask = redis.register_script(_ASK)

    def pause(self) -> timedelta | None:
        """Return how long an attempt has to wait, or None if it may be made now: always, when Redis is away."""
        try:
            wait = cast(
                int, self._ask(keys=self._keys, args=[self._failures, round(self._probe.total_seconds() * 1000)])
            )
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return None
        return timedelta(milliseconds=wait) if wait else None

    def found_down(self) -> bool:
        """Count an attempt that found the receiver down; tell whether that was known, as it is of a probe."""
        try:
            count = self._redis.incr(self._keys[0])
            self._redis.pexpire(self._keys[0], FORGOTTEN_AFTER)
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return False
        if count == self._failures:
            log.error("receiver_down", failures=count, probe_seconds=self._probe.total_seconds())
        return count > self._failures

    def found_up(self) -> None:
        """Close the circuit: the receiver has answered."""
        try:
            with self._redis.pipeline(transaction=False) as both:
                both.getdel(self._keys[0])
                both.delete(self._keys[1])
                count = cast("bytes | None", both.execute()[0])
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return
        # What is no number was not counted by us.
        if count and count.isdigit() and len(count) <= MOST_DIGITS and int(count) >= self._failures:
            log.info("receiver_back")


def breaker() -> Breaker:
    """Return the current application's."""
    return cast(Breaker, current_app.extensions["breaker"])
