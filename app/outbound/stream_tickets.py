"""Single-use tickets for the event stream, since a browser's EventSource cannot send headers.

What a ticket stands for is encrypted and bound to it: one that was written into Redis by hand, or copied from another
ticket's place, opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import structlog
from flask import current_app
from redis import Redis

from app import metrics
from app.outbound.encryption import ContextBoundEncryption, DecryptionRefused, read_encrypted

log = structlog.get_logger()

# Releases whose tickets were kept in clear had another: neither takes the other's for its own.
REDIS_KEY_PREFIX = "rita:stream-ticket:"
# The clocks of two web processes may differ by so much.
MAX_CLOCK_SKEW = timedelta(seconds=30)


class StreamTickets:
    """Issues tickets and redeems each once."""

    def __init__(self, redis: Redis, *, keys: Sequence[str], ttl: timedelta) -> None:
        self._redis = redis
        self._encryption = ContextBoundEncryption(keys)
        self._ttl = ttl

    def issue(self, content: Any) -> str:
        """Keep `content` under a new ticket, which is returned; only its hash is kept. Raises redis.RedisError."""
        ticket = secrets.token_urlsafe(32)
        encrypted = self._encryption.encrypt(content, context=_encryption_context(ticket))
        self._redis.set(_redis_key(ticket), encrypted, px=self._ttl)
        return ticket

    def redeem(self, ticket: str) -> Any | None:
        """Return a ticket's content once, and None ever after. Raises redis.RedisError."""
        context, ttl = _encryption_context(ticket), self._ttl + MAX_CLOCK_SKEW
        try:
            encrypted = read_encrypted(self._redis.getdel, _redis_key(ticket))
            return None if encrypted is None else self._encryption.decrypt(encrypted, context=context, ttl=ttl)
        except DecryptionRefused as refused:
            metrics.process_metrics().values_refused.labels("ticket", refused.reason).inc()
            log.error("ticket_refused", reason=refused.reason)  # noqa: TRY400 - it is no bug
            return None


def current_stream_tickets() -> StreamTickets:
    """Return the current application's."""
    return cast("StreamTickets", current_app.extensions["stream_tickets"])


def _encryption_context(ticket: str) -> dict[str, object]:
    return {"ticket": _redis_key(ticket)}


def _redis_key(ticket: str) -> str:
    return REDIS_KEY_PREFIX + hashlib.sha256(ticket.encode()).hexdigest()
