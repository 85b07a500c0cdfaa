"""Connections to a Redis that may hang: a process that is stopped, a host that is gone, and nobody who refuses.

A command that is not answered is tried once more on a new connection, for the old one may have died unnoticed. When
that says nothing either, Redis hangs, and for a moment nobody else waits for it: a request asks it several times.
"""

from __future__ import annotations

import time
from typing import Any, Self

from redis import BlockingConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

# One of them is the subscription's; commands take a fraction of a millisecond, so that few serve many browsers.
MAX_CONNECTIONS = 20
# In seconds. What takes a millisecond otherwise will not come after this.
TIMEOUT_SECONDS = 2
# In seconds: the rest of a request, and whoever stands behind it.
FAIL_FAST_SECONDS = 1.0


class RetryOnce(Retry):
    """The second try, and the memory of one that was in vain; the connections of a pool share it."""

    fail_fast_until = 0.0

    def __deepcopy__(self, _: object) -> Self:
        # Each connection would take a copy.
        return self

    def call_with_retry(self, *args: Any, **options: Any) -> Any:
        """Do something twice at most. Raises redis.RedisError."""
        try:
            return super().call_with_retry(*args, **options)
        except RedisTimeout:
            self.fail_fast_until = time.monotonic() + FAIL_FAST_SECONDS
            raise


class FailFastConnectionPool(BlockingConnectionPool):
    """A pool that gives no connection to a Redis that hung a moment ago."""

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that is open. Raises redis.RedisError."""
        if time.monotonic() < self.connection_kwargs["retry"].fail_fast_until:
            raise RedisTimeout("Redis did not answer a moment ago")
        return super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


def create_redis_pool(url: str) -> BlockingConnectionPool:
    """Return the pool of a process; who finds none free waits for one instead of being refused, as a burst would be."""
    return FailFastConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=5,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=RetryOnce(NoBackoff(), 1),
        health_check_interval=30,
    )
