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

REDIS_KEY_PREFIX = "rita:receiver:"
# With no attempt for this long, what was known of the receiver is worth nothing any more.
FAILURE_COUNT_LIFETIME = timedelta(hours=1)

# Of a count: far more than a day of attempts.
MAX_COUNT_DIGITS = 9

# KEYS: failures in a row, the probe. ARGV: how many failures open the circuit, the milliseconds between two probes.
# Returns the milliseconds to wait, 0 for whoever may go.
_MAY_ATTEMPT_SCRIPT = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return 0 end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then return 0 end
return math.max(1, math.min(redis.call('PTTL', KEYS[2]), tonumber(ARGV[2])))
"""


class CircuitBreaker:
    """Closed until `failure_threshold` attempts in a row found the receiver down.

    Then it is open but for a probe every `probe_interval`.
    """

    def __init__(self, redis: Redis, *, failure_threshold: int, probe_interval: timedelta) -> None:
        self._redis = redis
        self._failures = failure_threshold
        self._probe = probe_interval
        self._keys = [f"{REDIS_KEY_PREFIX}failures", f"{REDIS_KEY_PREFIX}probe"]
        self._ask = redis.register_script(_MAY_ATTEMPT_SCRIPT)

    def time_until_attempt_allowed(self) -> timedelta | None:
        """Return how long an attempt has to wait, or None if it may be made now: always, when Redis is away."""
        probe_milliseconds = round(self._probe.total_seconds() * 1000)
        try:
            wait = cast(int, self._ask(keys=self._keys, args=[self._failures, probe_milliseconds]))
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return None
        return timedelta(milliseconds=wait) if wait else None

    def record_failure(self) -> bool:
        """Count an attempt that found the receiver down; tell whether that was known, as it is of a probe."""
        try:
            count = self._redis.incr(self._keys[0])
            self._redis.pexpire(self._keys[0], FAILURE_COUNT_LIFETIME)
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return False
        if count == self._failures:
            log.error("receiver_down", failures=count, probe_seconds=self._probe.total_seconds())
        return count > self._failures

    def record_success(self) -> None:
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
        if count and count.isdigit() and len(count) <= MAX_COUNT_DIGITS and int(count) >= self._failures:
            log.info("receiver_back")


def current_circuit_breaker() -> CircuitBreaker:
    """Return the current application's."""
    return cast(CircuitBreaker, current_app.extensions["circuit_breaker"])
