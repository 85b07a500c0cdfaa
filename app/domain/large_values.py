"""What the audit trail keeps of a large value: its beginning, its length and its hash. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from app.domain.json_values import canonical_json

# Of JSON, in bytes; a name and nearly every configuration and description fit. One row has a dozen values at most.
MAX_STORED_JSON_BYTES = 4 * 1024
# Of arrays and objects, and in texts within them: a page of the trail has two hundred values, and is read as a whole.
MAX_STORED_BRACKETS = 200
# What a person recognizes it by, in characters.
SUMMARY_BEGINNING_LENGTH = 200
# Bytes of JSON that one character may take, but for the few that take two escapes: `\\ud83d\\ude00`.
MAX_ESCAPED_CHARACTER_BYTES = 12


def summarize_if_large(value: Any) -> Any:
    """Return a value, or in the place of one that is too large for the trail what tells it from others.

    That is `{"abridged": true, "bytes", "sha256", "begins"}`, of its JSON in UTF-8 with sorted keys: the same value has
    the same hash.
    """
    if not isinstance(value, str | dict | list):
        return value
    if isinstance(value, str) and len(value) * MAX_ESCAPED_CHARACTER_BYTES < MAX_STORED_JSON_BYTES:
        return value
    text = canonical_json(value)
    written = text.encode()
    is_simple = isinstance(value, str) or text.count("[") + text.count("{") <= MAX_STORED_BRACKETS
    if len(written) <= MAX_STORED_JSON_BYTES and is_simple:
        return value
    digest = sha256(written).hexdigest()
    return {"abridged": True, "bytes": len(written), "sha256": digest, "begins": text[:SUMMARY_BEGINNING_LENGTH]}
