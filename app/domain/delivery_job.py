"""What a job says of the webhook that somebody is to post."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class DeliveryJob(NamedTuple):
    """An operation whose attempt is due; kind and organization tell who waits for it, and with whom it shares."""

    operation_id: UUID
    kind: str
    organization_id: UUID
