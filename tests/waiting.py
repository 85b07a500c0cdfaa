"""Wait for a fact, with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Fact = TypeVar("Fact")
_NEVER = threading.Event()


def eventually(look: Callable[[], Fact], *, within: float = 15.0) -> Fact:
    """Return the first truthy value that `look` returns, or fail with the last one."""
    deadline = time.monotonic() + within
    while True:
        fact = look()
        if fact:
            return fact
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; last seen: {fact!r}")
        _NEVER.wait(0.02)
