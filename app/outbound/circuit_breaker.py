"""Whether the external service takes requests at present: a circuit breaker that all webhook workers share.

After a row of attempts that all found it down, attempts stop but for one probe at a time; what is due meanwhile waits
without spending an attempt. The first answer of any kind closes the circuit again.

It may be down for the requests of one organization alone, which would have every probe if they were many. So who has
not failed in this row has a probe apart. See `docs/decisions/0010-circuit-breaker.md`.
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

# KEYS: failures in a row, the probe, the probe of others, who failed. ARGV: how many failures open the circuit, the
# milliseconds between two probes, who asks. Returns the milliseconds to wait, 0 for whoever may go.
_MAY_ATTEMPT_SCRIPT = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return 0 end
local probe = KEYS[2]
if ARGV[3] ~= '' and redis.call('SISMEMBER', KEYS[4], ARGV[3]) == 0 then probe = KEYS[3] end
if redis.call('SET', probe, '1', 'NX', 'PX', ARGV[2]) then return 0 end
return math.max(1, math.min(redis.call('PTTL', probe), tonumber(ARGV[2])))
"""


class CircuitBreaker:
    """Closed until `failure_threshold` attempts in a row found the receiver down.

    Then it is open but for a probe every `probe_interval`, and another one of organizations that have not failed.
    """

    def __init__(self, redis: Redis, *, failure_threshold: int, probe_interval: timedelta) -> None:
        self._redis = redis
        self._failures = failure_threshold
        self._probe = probe_interval
        self._failures_key, self._failed_key = f"{REDIS_KEY_PREFIX}failures", f"{REDIS_KEY_PREFIX}failed"
        self._probe_keys = [f"{REDIS_KEY_PREFIX}probe", f"{REDIS_KEY_PREFIX}probe_of_others"]
        self._ask = redis.register_script(_MAY_ATTEMPT_SCRIPT)

    def time_until_attempt_allowed(self, organization_id: str = "") -> timedelta | None:
        """Return how long an attempt has to wait, or None if it may be made now: always, when Redis is away.

        An attempt of which nobody knows whose it is waits with those that failed.
        """
        milliseconds = round(self._probe.total_seconds() * 1000)
        arguments: list[int | str] = [self._failures, milliseconds, organization_id]
        try:
            wait = cast(int, self._ask(keys=[self._failures_key, *self._probe_keys, self._failed_key], args=arguments))
        except RedisError as problem:
            log.warning("breaker_unknown", error=type(problem).__name__)
            return None
        return timedelta(milliseconds=wait) if wait else None

    def record_failure(self, organization_id: str = "") -> bool:
        """Count an attempt that found the receiver down; tell whether that was known, as it is of a probe."""
        try:
            with self._redis.pipeline(transaction=False) as all_of_it:
                all_of_it.incr(self._failures_key)
                all_of_it.sadd(self._failed_key, organization_id)
                for key in (self._failures_key, self._failed_key):
                    all_of_it.pexpire(key, FAILURE_COUNT_LIFETIME)
                count = cast(int, all_of_it.execute()[0])
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
                both.getdel(self._failures_key)
                both.delete(*self._probe_keys, self._failed_key)
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
