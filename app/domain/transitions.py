"""The table of the state machine, the step that it allows, and what an answer says of its connection."""

from __future__ import annotations

from datetime import datetime

from app.domain import endings
from app.domain.aggregate import OPEN_STATES, Connection, Operation
from app.domain.status_messages import Report, VerificationReport

ANSWERED_STATES = frozenset({"succeeded", "failed"})
# These ended without a word from the external service; its answer, however late, is the truth.
UNANSWERED_STATES = frozenset({"expired", "undelivered"})

# (state, trigger) → state. What is not here does not happen: the trigger comes late and changes nothing.
STATE_TRANSITIONS = {
    ("pending", "delivered"): "delivered",
    ("pending", "gave_up"): "undelivered",
    **{(state, "started"): "running" for state in OPEN_STATES},
    **{(state, "succeeded"): "succeeded" for state in OPEN_STATES | UNANSWERED_STATES},
    **{(state, "failed"): "failed" for state in OPEN_STATES | UNANSWERED_STATES},
    **{(state, "expired"): "expired" for state in OPEN_STATES},
    **{(state, "replaced"): "replaced" for state in OPEN_STATES},
}


def transition(operation: Operation, trigger: str, *, now: datetime) -> bool:
    """Take the step that the table allows; tell whether there was one."""
    state = STATE_TRANSITIONS.get((operation.state, trigger))
    if state is None:
        return False
    operation.state = state
    # It is posted no more, and as large as a configuration, of which a member may ask for one a second.
    operation.request = {}
    if state not in OPEN_STATES:
        operation.finished_at = now
        operation.deadline_at = operation.next_attempt_at = operation.queued_until = operation.claimed_until = None
    return True


def record_answer_on_connection(connection: Connection, report: Report, operation: Operation, *, now: datetime) -> None:
    """Write an operation's answer into the connection: the table of CONTRACT's section 5."""
    ending = endings.ending_name_for_answer(operation.state, is_late=operation.reported_late)
    if not isinstance(report, VerificationReport):
        connection.last_sync_status = "failed" if report.trigger == "failed" else "completed"
        connection.last_sync_error = report.error
        connection.last_sync_at = now
        connection.last_sync_ending = ending
        connection.last_sync_documents = operation.documents_processed
        return
    connection.last_verification_error = report.error
    connection.last_verification_at = now
    connection.last_verification_ending = ending
    if report.trigger == "succeeded":
        connection.latest_options = report.options
        connection.verified_at = now
