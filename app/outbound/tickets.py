"""Single-use tickets for the event stream, since a browser's EventSource cannot send headers."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import cast

from redis import Redis

PREFIX = "rita:sse-ticket:"


def issue(redis: Redis, content: bytes, *, ttl: timedelta) -> str:
    """Keep `content` under a new ticket, which is returned; only its hash is kept. Raises redis.RedisError."""
    ticket = secrets.token_urlsafe(32)
    redis.set(_key(ticket), content, px=ttl)
    return ticket


def redeem(redis: Redis, ticket: str) -> bytes | None:
    """Return a ticket's content once, and None ever after. Raises redis.RedisError."""
    return cast("bytes | None", redis.getdel(_key(ticket)))


def _key(ticket: str) -> str:
    return PREFIX + hashlib.sha256(ticket.encode()).hexdigest()
