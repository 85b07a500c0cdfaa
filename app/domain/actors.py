"""Who makes a change."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Actor:
    """A user, the external service or the system itself; `request_id` is of the HTTP request, where there was one."""

    type: str
    id: UUID | None = None
    email: str | None = None
    request_id: str | None = None


EXTERNAL_SERVICE = Actor("external_service")
SYSTEM = Actor("system")
