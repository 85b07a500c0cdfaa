"""How often an organization may ask for what costs others work, counted in Redis over a moving window.

By Redis' own clock: the hosts that count together need not agree on the time.
"""

from __future__ import annotations

import math
from typing import cast

import structlog
from limits import parse
from redis.exceptions import RedisError

from app import errors, extensions
from app.api import auth
from app.domain.texts import count_with_noun
from app.setting_types import RATE_LIMIT_OFF

log = structlog.get_logger()

REDIS_KEY_PREFIX = "rita:limits"

# KEYS: the account, a list of the moments of what was let in, newest first. ARGV: how many, in how many seconds.
# Returns the seconds until there is room again, as a text, or nothing: then the request counts.
_COUNT_REQUEST_SCRIPT = """
local time, limit, window = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
local now = time[1] + time[2] / 1000000
local before = redis.call('LINDEX', KEYS[1], limit - 1)
if before and before + window > now then
  return tostring(math.min(before + window - now, window))
end
redis.call('LPUSH', KEYS[1], string.format('%.6f', now))
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('EXPIRE', KEYS[1], window)
"""


def count_change_request() -> None:
    """Count a change that the caller asks for: each costs a row, an audit row and an event. Raises RateLimited."""
    count_request("change", limit=extensions.settings().change_rate_limit)


def count_request(limit_name: str, *, limit: str) -> None:
    """Count one request of the caller's organization against a limit. Raises RateLimited.

    Without Redis nothing is counted and every request passes: the limit protects others' time, not anyone's rows.
    """
    if limit == RATE_LIMIT_OFF:
        return
    item = parse(limit)
    # The verified identity's, never an address or a parameter: those are the caller's to choose.
    account = f"{REDIS_KEY_PREFIX}:{item.key_for(limit_name, str(auth.current_identity().organization_id))}"
    try:
        script = extensions.redis().register_script(_COUNT_REQUEST_SCRIPT)
        wait = cast("bytes | None", script(keys=[account], args=[item.amount, item.get_expiry()]))
    except RedisError as problem:
        log.warning("rate_limit_not_checked", limit=limit_name, error=type(problem).__name__)
        return
    if wait is None:
        return
    # Hosts of an earlier release counted by their own clocks.
    seconds = min(max(1, math.ceil(float(wait))), item.get_expiry())
    log.info("rate_limited", limit=limit_name)
    what = f"asked too often (the limit is {limit}); try again in {count_with_noun(seconds, 'second')}"
    raise errors.RateLimited(f"Your organization has {what}", retry_after=seconds)
