"""A verification's credentials between the press and the POST: sealed, in Redis, for as long as its deadline.

They are in no database row, no task argument, no log and no event; see `docs/decisions/0002-sealed-credentials.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import pydantic_core
import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import current_app
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

PREFIX = "rita:sealed:"


class Seals:
    """Seals JSON with the newest key and opens it with any (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, redis: Redis, *, keys: Sequence[str]) -> None:
        self._redis = redis
        self._keys = keys

    @cached_property
    def _fernet(self) -> MultiFernet:
        # The status worker, which only destroys, has no keys.
        return MultiFernet([Fernet(key) for key in self._keys])

    def park(self, operation_id: UUID, content: Mapping[str, Any], *, ttl: timedelta) -> None:
        """Seal `content` under the operation's id; gone after `ttl`. Raises redis.RedisError."""
        sealed = self._fernet.encrypt(pydantic_core.to_json(content))
        self._redis.set(f"{PREFIX}{operation_id}", sealed, px=ttl)

    def open(self, operation_id: UUID) -> dict[str, Any] | None:
        """Return what was sealed, or None if it is gone or no key opens it. Raises redis.RedisError."""
        sealed = cast("bytes | None", self._redis.get(f"{PREFIX}{operation_id}"))
        if sealed is None:
            return None
        try:
            return cast("dict[str, Any]", pydantic_core.from_json(self._fernet.decrypt(sealed)))
        except InvalidToken:
            return None

    def discard(self, *operation_ids: UUID) -> None:
        """Destroy what was sealed; what cannot be destroyed now, for Redis is away, ends with its time to live."""
        if not operation_ids:
            return
        try:
            self._redis.delete(*(f"{PREFIX}{operation_id}" for operation_id in operation_ids))
        except RedisError as problem:
            log.warning("seals_not_discarded", count=len(operation_ids), error=type(problem).__name__)


def seals() -> Seals:
    """Return the current application's."""
    return cast("Seals", current_app.extensions["seals"])
