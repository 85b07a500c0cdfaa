"""What an answer is about that cannot be read, so that nobody waits for it: looked for in its bytes. Pure.

The body may be no JSON, in an envelope, or too long to parse; see docs/decisions/0007-late-reports.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """An answer that cannot be applied, but for what it is about, which can be told."""

    connection_id: UUID
    tenant_id: UUID
    operation_id: UUID

    def placeholder_body(self) -> str:
        """Return what stands for a body that cannot be handed on: it is refused, and says the same."""
        return json.dumps({name: str(getattr(self, name)) for name in self.__slots__})


# In JSON, in what was to be JSON, and in a text of JSON inside JSON; in the names of other languages, too.
_ID_FIELD_PATTERN = re.compile(
    rb'"(connection|tenant|operation)_?id\\{0,8}"\s{0,20}:\s{0,20}\\{0,8}"([0-9a-f-]{32,36})\\{0,8}"', re.IGNORECASE
)


def identify_unreadable_message(body: bytes) -> UnreadableMessage | None:
    """Tell what a body that cannot be applied is about, if it names one connection, one tenant and one operation."""
    found: dict[str, set[UUID]] = {}
    # In UTF-16, every other byte of these is NUL.
    for key, value in _ID_FIELD_PATTERN.findall(body.replace(b"\x00", b"")):
        try:
            found.setdefault(f"{key.decode().lower()}_id", set()).add(UUID(value.decode()))
        except ValueError:
            return None
    if len(found) < len(UnreadableMessage.__slots__) or any(len(ids) > 1 for ids in found.values()):
        return None
    return UnreadableMessage(**{key: ids.pop() for key, ids in found.items()})
