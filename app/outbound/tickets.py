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

from app import figures
from app.outbound.encryption import Encryption, Refused

log = structlog.get_logger()

# Releases whose tickets were kept in clear had another: neither takes the other's for its own.
PREFIX = "rita:stream-ticket:"
# The clocks of two web processes may differ by so much.
SKEW = timedelta(seconds=30)


class Tickets:
    """Issues tickets and redeems each once."""

    def __init__(self, redis: Redis, *, keys: Sequence[str], ttl: timedelta) -> None:
        self._redis = redis
        self._encryption = Encryption(keys)
        self._ttl = ttl

    def issue(self, content: Any) -> str:
        """Keep `content` under a new ticket, which is returned; only its hash is kept. Raises redis.RedisError."""
        ticket = secrets.token_urlsafe(32)
        self._redis.set(_key(ticket), self._encryption.encrypt(content, about=_about(ticket)), px=self._ttl)
        return ticket

    def redeem(self, ticket: str) -> Any | None:
        """Return a ticket's content once, and None ever after. Raises redis.RedisError."""
        encrypted = cast("bytes | None", self._redis.getdel(_key(ticket)))
        if encrypted is None:
            return None
        try:
            return self._encryption.decrypt(encrypted, about=_about(ticket), ttl=self._ttl + SKEW)
        except Refused as refused:
            figures.value_refused("ticket", refused.reason)
            log.error("ticket_refused", reason=refused.reason)  # noqa: TRY400 - it is no bug
            return None


def tickets() -> Tickets:
    """Return the current application's."""
    return cast("Tickets", current_app.extensions["tickets"])


def _about(ticket: str) -> dict[str, object]:
    return {"ticket": _key(ticket)}


def _key(ticket: str) -> str:
    return PREFIX + hashlib.sha256(ticket.encode()).hexdigest()
