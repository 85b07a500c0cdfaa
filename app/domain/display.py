"""What a connection looks like to a person: one state, why, who must act, and what to do next. Pure.

The same object stands in the list, in the detail and in every event, so that no two readers can come to differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from app.domain import sources
from app.domain.cases import STATUSES, Connection, Operation


@dataclass(frozen=True, slots=True)
class Display:
    """`state` is one of STATES, `actor` one of user, service and None, `action` one of verify, enable, sync and wait.

    `reason` is a sentence for a person, or None where the state says it all.
    """

    state: str
    reason: str | None = None
    actor: str | None = "user"
    action: str | None = None


# What a person sees of an operation that runs: how far it is, and until when it is waited for.
OF_AN_OPERATION = (
    "id", "kind", "origin", "state", "requested_email", "attempts", "next_attempt_at", "last_status_code",
    "last_attempt_error", "created_at", "delivered_at", "started_at", "last_reported_at", "deadline_at",
    "documents_processed",
)  # fmt: skip
_OF_AN_OPERATION = attrgetter(*OF_AN_OPERATION)

STATES = (
    "unconfigured", "verifying", "verification_failed", "disabled", "pending", "syncing", "completed", "failed",
)  # fmt: skip


def of(connection: Connection, running: Operation | None) -> Display:  # noqa: PLR0911 - a table, row by row
    """Return what to show of a connection and the operation that its status speaks of."""
    if running is not None:
        return Display(STATUSES[running.kind], _progress(running), actor="service", action="wait")
    if not connection.enabled and connection.first_enabled_at is not None:
        return Display("disabled", "Switched off; enable it to sync again", action="enable")
    if connection.last_verification_error and not _synced_since_verified(connection):
        return Display("verification_failed", connection.last_verification_error, action="verify")
    if not sources.is_known(connection.type) and connection.last_verification_at is None:
        return Display("unconfigured", "This release of Rita does not know this kind of source yet", actor=None)
    if sources.needs_credentials(connection.type) and connection.last_verification_at is None:
        return Display("unconfigured", "Enter the credentials and verify them", action="verify")
    if not connection.enabled:
        return Display("unconfigured", "Choose what to sync and save", action="enable")
    if connection.last_sync_status == "failed":
        return Display("failed", connection.last_sync_error, action="sync")
    if connection.last_sync_status is None:
        return Display("pending", "Ready for its first sync", action="sync")
    return Display("completed", actor=None, action="sync")


def operation(running: Operation | None) -> dict[str, Any] | None:
    """Return what to show of the operation that a connection's status speaks of."""
    return dict(zip(OF_AN_OPERATION, _OF_AN_OPERATION(running), strict=True)) if running else None


def _synced_since_verified(connection: Connection) -> bool:
    """Tell whether a sync has ended after the failed verification: then that is the newer word on the source."""
    verified, synced = connection.last_verification_at, connection.last_sync_at
    return connection.last_sync_status is not None and verified is not None and synced is not None and synced > verified


def _progress(running: Operation) -> str:
    if running.state == "pending":
        if running.last_attempt_error is None:
            return "Sending the request to the external service"
        return f"{running.last_attempt_error}; it is tried again"
    if running.kind == "verify":
        return "Checking the credentials; waiting for the answer"
    if running.state == "delivered":
        return "Asked for; waiting for the sync to start"
    if running.documents_processed is None:
        return "Running"
    return f"Running, {running.documents_processed} documents so far"
