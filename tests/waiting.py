"""Wait for a fact, with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Fact = TypeVar("Fact")
_NEVER = threading.Event()
# A look may cost as much as it is waited for: a call, a database's or a broker's connection. So the longer it has
# taken, the longer until the next one.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.1


def eventually(look: Callable[[], Fact], *, within: float = 15.0) -> Fact:
    """Return the first truthy value that `look` returns, or fail with the last one."""
    began = time.monotonic()
    while True:
        fact = look()
        if fact:
            return fact
        waited = time.monotonic() - began
        if waited > within:
            raise AssertionError(f"not within {within} s; last seen: {fact!r}")
        _NEVER.wait(min(max(waited / 10, SHORTEST_PAUSE), LONGEST_PAUSE))
