"""JSON that Redis keeps for us and that is believed when it is read back: encrypted, and bound to what it is about.

Whoever can write Redis can put one value in another's place. So what a value is about is inside the encrypted content
and is compared when it is decrypted: a value counts for its own place and for no other, of whatever kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, cast

import pydantic_core
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from redis.exceptions import ResponseError


class DecryptionRefused(Exception):
    """What Redis holds is not what we put there; `reason` is one word."""

    reason: str


class Undecryptable(DecryptionRefused):
    """No key decrypts it, or it is older than it may be: it is not ours, or a key is missing."""

    reason = "unreadable"


class WrongContext(DecryptionRefused):
    """It is ours, and about something else: somebody has moved it."""

    reason = "misplaced"


class ContextBoundEncryption:
    """Encrypts with the newest key and decrypts with any (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    @cached_property
    def _fernet(self) -> MultiFernet:
        # The status worker, which only destroys, has no keys.
        return MultiFernet([Fernet(key) for key in self._keys])

    def encrypt(self, content: Any, *, context: Mapping[str, object]) -> bytes:
        """Return `content`, bound to what it is about: names and ids, whose names no other kind of value has."""
        return self._fernet.encrypt(pydantic_core.to_json({"about": context, "content": content}))

    def decrypt(self, encrypted: bytes, *, context: Mapping[str, object], ttl: timedelta | None = None) -> Any:
        """Return the content. Raises Undecryptable, WrongContext; `ttl` is the oldest it may be, in whole seconds."""
        try:
            plain = self._fernet.decrypt(encrypted, None if ttl is None else int(ttl.total_seconds()))
        except InvalidToken:
            raise Undecryptable from None
        match pydantic_core.from_json(plain):
            case {"about": dict(found), "content": content} if found == pydantic_core.to_jsonable_python(dict(context)):
                return content
        raise WrongContext


def read_encrypted(command: Callable[[str], Any], key: str) -> bytes | None:
    """Return what a command of Redis (GET, GETDEL) reads under a key, or None if nothing lies there.

    Raises Undecryptable where it is of a type that Rita never writes, and redis.RedisError.
    """
    try:
        return cast("bytes | None", command(key))
    except ResponseError as problem:
        if str(problem).startswith("WRONGTYPE"):
            raise Undecryptable from None
        raise
