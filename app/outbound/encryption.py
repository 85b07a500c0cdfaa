"""JSON that Redis keeps for us and that is believed when it is read back: encrypted, and bound to what it is about.

Whoever can write Redis can put one value in another's place. So what a value is about is inside the encrypted content
and is compared when it is decrypted: a value counts for its own place and for no other, of whatever kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

import pydantic_core
from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class Refused(Exception):
    """What Redis holds is not what we put there; `reason` is one word."""

    reason: str


class Unreadable(Refused):
    """No key decrypts it, or it is older than it may be: it is not ours, or a key is missing."""

    reason = "unreadable"


class Misplaced(Refused):
    """It is ours, and about something else: somebody has moved it."""

    reason = "misplaced"


class Encryption:
    """Encrypts with the newest key and decrypts with any (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    @cached_property
    def _fernet(self) -> MultiFernet:
        # The status worker, which only destroys, has no keys.
        return MultiFernet([Fernet(key) for key in self._keys])

    def encrypt(self, content: Any, *, about: Mapping[str, object]) -> bytes:
        """Return `content`, bound to what it is about: names and ids, whose names no other kind of value has."""
        return self._fernet.encrypt(pydantic_core.to_json({"about": about, "content": content}))

    def decrypt(self, encrypted: bytes, *, about: Mapping[str, object], ttl: timedelta | None = None) -> Any:
        """Return the content. Raises Unreadable, Misplaced; `ttl` is the oldest it may be, in whole seconds."""
        try:
            plain = self._fernet.decrypt(encrypted, None if ttl is None else int(ttl.total_seconds()))
        except InvalidToken:
            raise Unreadable from None
        match pydantic_core.from_json(plain):
            case {"about": dict(found), "content": content} if found == pydantic_core.to_jsonable_python(dict(about)):
                return content
        raise Misplaced
