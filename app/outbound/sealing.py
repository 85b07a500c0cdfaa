"""A verification's credentials between the request and the POST: encrypted, in Redis, for as long as its deadline.

They are in no database row, no task argument, no log and no event; see `docs/decisions/0002-encrypted-credentials.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import structlog
from flask import current_app
from redis import Redis
from redis.exceptions import RedisError

from app import figures
from app.outbound.encryption import Encryption, Misplaced, Refused, Unreadable

log = structlog.get_logger()

# Releases whose encrypted values said nothing of their operation had another: neither takes the other's for its own.
PREFIX = "rita:credentials:"


class Seals:
    """Encrypts JSON for one operation of one connection of one organization, and decrypts it for no other."""

    def __init__(self, redis: Redis, *, keys: Sequence[str]) -> None:
        self._redis = redis
        self._encryption = Encryption(keys)

    def park(
        self,
        operation_id: UUID,
        content: Mapping[str, Any],
        *,
        organization_id: UUID,
        connection_id: UUID,
        ttl: timedelta,
    ) -> None:
        """Encrypt `content` under the operation's id; gone after `ttl`. Raises redis.RedisError."""
        about = _about(operation_id, organization_id, connection_id)
        self._redis.set(f"{PREFIX}{operation_id}", self._encryption.encrypt(content, about=about), px=ttl)

    def open(self, operation_id: UUID, *, organization_id: UUID, connection_id: UUID) -> dict[str, Any] | None:
        """Return what was encrypted, or None if it is gone. Raises redis.RedisError, and Refused with an alarm."""
        sealed = cast("bytes | None", self._redis.get(f"{PREFIX}{operation_id}"))
        if sealed is None:
            return None
        about = _about(operation_id, organization_id, connection_id)
        try:
            return cast("dict[str, Any]", self._encryption.decrypt(sealed, about=about))
        except Refused as refused:
            figures.value_refused("credentials", refused.reason)
            log.error("seal_refused", reason=refused.reason, operation_id=str(operation_id))  # noqa: TRY400 - it is no bug
            raise

    def is_readable(self, operation_id: UUID) -> bool:
        """Tell whether one of our keys decrypts what lies under the id, or nothing does. Raises redis.RedisError."""
        sealed = cast("bytes | None", self._redis.get(f"{PREFIX}{operation_id}"))
        try:
            return sealed is None or bool(self._encryption.decrypt(sealed, about={}))
        except Misplaced:
            return True
        except Unreadable:
            return False

    def discard(self, *operation_ids: UUID) -> None:
        """Destroy what was encrypted; what cannot be destroyed now, for Redis is away, ends with its time to live."""
        if not operation_ids:
            return
        try:
            self._redis.delete(*(f"{PREFIX}{operation_id}" for operation_id in operation_ids))
        except RedisError as problem:
            log.warning("seals_not_discarded", count=len(operation_ids), error=type(problem).__name__)


def _about(operation_id: UUID, organization_id: UUID, connection_id: UUID) -> dict[str, object]:
    return {"operation_id": operation_id, "organization_id": organization_id, "connection_id": connection_id}


def seals() -> Seals:
    """Return the current application's."""
    return cast("Seals", current_app.extensions["seals"])
