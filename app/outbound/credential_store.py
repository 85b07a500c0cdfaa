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

from app import metrics
from app.outbound.encryption import (
    ContextBoundEncryption,
    DecryptionRefused,
    Undecryptable,
    WrongContext,
    read_encrypted,
)

log = structlog.get_logger()

# Releases whose encrypted values said nothing of their operation had another: neither takes the other's for its own.
REDIS_KEY_PREFIX = "rita:credentials:"


class CredentialStore:
    """Encrypts JSON for one operation of one connection of one organization, and decrypts it for no other."""

    def __init__(self, redis: Redis, *, keys: Sequence[str]) -> None:
        self._redis = redis
        self._encryption = ContextBoundEncryption(keys)

    def store(
        self,
        operation_id: UUID,
        content: Mapping[str, Any],
        *,
        organization_id: UUID,
        connection_id: UUID,
        ttl: timedelta,
    ) -> None:
        """Encrypt `content` under the operation's id; gone after `ttl`. Raises redis.RedisError."""
        context = _encryption_context(operation_id, organization_id, connection_id)
        self._redis.set(f"{REDIS_KEY_PREFIX}{operation_id}", self._encryption.encrypt(content, context=context), px=ttl)

    def load(self, operation_id: UUID, *, organization_id: UUID, connection_id: UUID) -> dict[str, Any] | None:
        """Return what was stored, or None if it is gone. Raises redis.RedisError, and DecryptionRefused."""
        context = _encryption_context(operation_id, organization_id, connection_id)
        try:
            encrypted = self._read(operation_id)
            return None if encrypted is None else self._encryption.decrypt(encrypted, context=context)
        except DecryptionRefused as refused:
            metrics.process_metrics().values_refused.labels("credentials", refused.reason).inc()
            log.error("seal_refused", reason=refused.reason, operation_id=str(operation_id))  # noqa: TRY400 - it is no bug
            raise

    def is_decryptable(self, operation_id: UUID) -> bool:
        """Tell whether one of our keys decrypts what lies under the id, or nothing does. Raises redis.RedisError."""
        try:
            encrypted = self._read(operation_id)
            return encrypted is None or bool(self._encryption.decrypt(encrypted, context={}))
        except WrongContext:
            return True
        except Undecryptable:
            return False

    def _read(self, operation_id: UUID) -> bytes | None:
        return read_encrypted(self._redis.get, f"{REDIS_KEY_PREFIX}{operation_id}")

    def delete(self, *operation_ids: UUID) -> None:
        """Destroy what was encrypted; what cannot be destroyed now, for Redis is away, ends with its time to live."""
        if not operation_ids:
            return
        try:
            self._redis.delete(*(f"{REDIS_KEY_PREFIX}{operation_id}" for operation_id in operation_ids))
        except RedisError as problem:
            log.warning("seals_not_discarded", count=len(operation_ids), error=type(problem).__name__)


def _encryption_context(operation_id: UUID, organization_id: UUID, connection_id: UUID) -> dict[str, object]:
    return {"operation_id": operation_id, "organization_id": organization_id, "connection_id": connection_id}


def current_credential_store() -> CredentialStore:
    """Return the current application's."""
    return cast("CredentialStore", current_app.extensions["credential_store"])
