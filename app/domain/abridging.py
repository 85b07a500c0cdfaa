"""What the audit trail keeps of a large value: its beginning, its length and its hash. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from app.domain.json_values import canonical

# Of JSON, in bytes; a name and nearly every configuration and description fit. One row has a dozen values at most.
LARGEST_KEPT = 4 * 1024
# What a person recognizes it by, in characters.
BEGINNING = 200
# Bytes of JSON that one character may take, but for the few that take two escapes: `\\ud83d\\ude00`.
LONGEST_ESCAPE = 12


def abridged(value: Any) -> Any:
    """Return a value, or in the place of one that is larger than LARGEST_KEPT what tells it from others.

    That is `{"abridged": true, "bytes", "sha256", "begins"}`, of its JSON in UTF-8 with sorted keys: the same value has
    the same hash.
    """
    if not isinstance(value, str | dict | list):
        return value
    if isinstance(value, str) and len(value) * LONGEST_ESCAPE < LARGEST_KEPT:
        return value
    text = canonical(value)
    written = text.encode()
    if len(written) <= LARGEST_KEPT:
        return value
    return {
        "abridged": True,
        "bytes": len(written),
        "sha256": sha256(written).hexdigest(),
        "begins": text[:BEGINNING],
    }
