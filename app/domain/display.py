"""What a connection looks like to a person: one state, why, who must act, and what to do next. Pure.

The same object stands in the list, in the detail and in every event, so that no two readers can come to differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from app.domain import endings, source_types
from app.domain.aggregate import CONNECTION_STATUS_BY_KIND, Connection, Operation


@dataclass(frozen=True, slots=True)
class ConnectionDisplay:
    """`state` is one of STATES, `actor` one of ACTORS, `action` and `alternative` one of ACTIONS.

    `reason` is a sentence for a person, or None where the state says it all; `advice` what to do about it; `note` what
    is worth knowing beside the state. `ending` names the row of `domain/endings.py` that a failed state comes from.
    """

    state: str
    reason: str | None = None
    actor: str | None = "user"
    action: str | None = None
    alternative: str | None = None
    advice: str | None = None
    note: str | None = None
    ending: str | None = None


# What a person sees of an operation that runs: how far it is, and until when it is waited for.
SHOWN_OPERATION_FIELDS = (
    "id", "kind", "origin", "state", "requested_email", "attempts", "next_attempt_at", "last_status_code",
    "last_attempt_error", "created_at", "delivered_at", "started_at", "last_reported_at", "deadline_at",
    "documents_processed",
)  # fmt: skip
_GET_SHOWN_OPERATION_VALUES = attrgetter(*SHOWN_OPERATION_FIELDS)

STATES = (
    "unconfigured", "verifying", "verification_failed", "disabled", "pending", "syncing", "completed", "failed",
)  # fmt: skip
# Who must act: a member of the organization, whoever runs Rita or the external service, that service itself, nobody.
ACTORS = ("user", "operator", "service", None)
ACTIONS = ("verify", "enable", "sync", "wait", None)


def display_of_connection(connection: Connection, running: Operation | None) -> ConnectionDisplay:  # noqa: PLR0911 - a table, row by row
    """Return what to show of a connection and the operation that its status speaks of."""
    if running is not None:
        state = CONNECTION_STATUS_BY_KIND[running.kind]
        return ConnectionDisplay(state, _progress_text(running), actor="service", action="wait")
    note = _side_note(connection)
    if not connection.enabled and connection.first_enabled_at is not None:
        return ConnectionDisplay("disabled", "Switched off; enable it to sync again", action="enable", note=note)
    if connection.last_verification_error and not _can_sync_despite_failed_verification(connection):
        return _display_of_failure(connection, endings.VERIFY_KIND)
    if not source_types.is_known_type(connection.type) and connection.last_verification_at is None:
        reason = "This release of Rita does not know this kind of source yet"
        return ConnectionDisplay("unconfigured", reason, actor=None)
    if source_types.type_needs_credentials(connection.type) and connection.last_verification_at is None:
        return ConnectionDisplay("unconfigured", "Enter the credentials and verify them", action="verify")
    if not connection.enabled:
        hint = "Choose what to sync and save" if connection.latest_options else "Switch it on and save"
        return ConnectionDisplay("unconfigured", hint, action="enable", note=note)
    if connection.last_sync_status == "failed":
        return _display_of_failure(connection, endings.SYNC_KIND, note=note)
    if connection.last_sync_status is None:
        return ConnectionDisplay("pending", "Ready for its first sync", action="sync", note=note)
    return ConnectionDisplay("completed", actor=None, action="sync", note=note, ending=connection.last_sync_ending)


def shown_operation_fields(running: Operation | None) -> dict[str, Any] | None:
    """Return what to show of the operation that a connection's status speaks of."""
    if running is None:
        return None
    return dict(zip(SHOWN_OPERATION_FIELDS, _GET_SHOWN_OPERATION_VALUES(running), strict=True))


def _display_of_failure(connection: Connection, kind: str, *, note: str | None = None) -> ConnectionDisplay:
    """Return what to show of what ended without success, by the table of endings."""
    of_a_verification = kind == endings.VERIFY_KIND
    name = connection.last_verification_ending if of_a_verification else connection.last_sync_ending
    ending = endings.ending_by_name(name)
    # Only the external service knows why it said no; expired credentials are a common reason.
    may_verify = ending.actor == "user" and source_types.type_needs_credentials(connection.type)
    return ConnectionDisplay(
        state="verification_failed" if of_a_verification else "failed",
        reason=connection.last_verification_error if of_a_verification else connection.last_sync_error,
        actor=ending.actor,
        action=ending.actions.get(kind, kind),
        alternative="verify" if may_verify and not of_a_verification else None,
        advice=ending.advice.get(kind),
        note=note,
        ending=name,
    )


def _can_sync_despite_failed_verification(connection: Connection) -> bool:
    """Tell whether a failed verification leaves the source as good as it was: what worked before is still in use."""
    if connection.verified_at is not None or _synced_after_last_verification(connection):
        return True
    return connection.enabled and not source_types.type_needs_credentials(connection.type)


def _side_note(connection: Connection) -> str | None:
    """Return what is worth knowing beside the state: of credentials that did not take the place of others, of lateness.

    A sync that ended after a refusal is the newer word on the source.
    """
    error = connection.last_verification_error
    if error and _can_sync_despite_failed_verification(connection):
        kept = "Those in use before still are" if connection.verified_at else "The source works without"
        if not endings.was_answered_by_service(connection.last_verification_ending):
            return f"The new credentials were not checked: {error}. {kept}."
        if not _synced_after_last_verification(connection):
            return f"The new credentials were refused: {error}. {kept}."
    if (connection.last_sync_ending or "").endswith("_late"):
        return "The answer to the last sync came after Rita had stopped waiting for it, and was taken all the same."
    return None


def _synced_after_last_verification(connection: Connection) -> bool:
    """Tell whether a sync has ended after the failed verification: then that is the newer word on the source."""
    verified, synced = connection.last_verification_at, connection.last_sync_at
    return connection.last_sync_status is not None and verified is not None and synced is not None and synced > verified


def _progress_text(running: Operation) -> str:
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
