"""The state machine of operations, and what each step means for their connection. Pure: `now` is passed in.

Every function here takes an aggregate, changes it in memory, and notes the change that is to be audited and pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain import dated_reports, sync_order
from app.domain.aggregate import OPEN_STATES, Connection, ConnectionAggregate, Operation
from app.domain.status_messages import MessageRefused, Report, VerificationReport
from app.domain.sync_order import NewIdFactory
from app.domain.transitions import STATE_TRANSITIONS, record_answer_on_connection, transition

# An undated message that says again, word for word, what was said this recently is a copy of it.
COPY_WINDOW = timedelta(minutes=10)

# The ways of being lost, each with its own words; of what was never attempted the external service knows nothing.
NEVER_SENT_MESSAGE = "Rita could not send the request in time; {kind} again"
EXPIRY_ENDINGS = {
    ("verify", "pending"): (
        "not_delivered", "The request could not be delivered to the external service in time; verify again",
    ),
    ("verify", "delivered"): ("unanswered", "The external service did not answer in time; verify again"),
    ("sync", "pending"): (
        "not_delivered", "The request could not be delivered to the external service in time; sync again",
    ),
    ("sync", "delivered"): (
        "not_started", "The external service accepted the sync but did not start it in time; sync again",
    ),
    ("sync", "running"): ("silent", "The external service stopped reporting on the sync; sync again"),
}  # fmt: skip
UNREADABLE_ANSWER_MESSAGE = "The external service's answer could not be read"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait for the external service, by what is awaited."""

    verification: timedelta
    sync_delivery: timedelta
    sync_start: timedelta
    sync_silence: timedelta


def replace_open_operations(aggregate: ConnectionAggregate, *, now: datetime) -> list[UUID]:
    """End whatever still runs, without an answer; return the ids of what did."""
    ended = [operation for operation in aggregate.operations.values() if transition(operation, "replaced", now=now)]
    for operation in ended:
        operation.error = "Replaced by a newer request"
    return [operation.id for operation in ended]


def open_requested_operation(aggregate: ConnectionAggregate, operation: Operation, *, now: datetime) -> list[UUID]:
    """Open an operation that a user asked for in place of whatever still runs; return the ids of that."""
    replaced_ids = replace_open_operations(aggregate, now=now)
    _set_asked_after(aggregate, operation, now=now)
    aggregate.operations[operation.id] = operation
    if operation.kind == "sync":
        aggregate.connection.last_sync_at = now
    aggregate.record_change(f"{operation.kind}.requested", operation=operation)
    return replaced_ids


def record_delivery(
    aggregate: ConnectionAggregate, operation: Operation, *, deadlines: Deadlines, now: datetime
) -> None:
    """Record that the external service took the request; what it has said of it meanwhile tells more."""
    operation.delivered_at = now
    operation.next_attempt_at = None
    if not transition(operation, "delivered", now=now):
        return
    if operation.kind == "sync":
        operation.deadline_at = now + deadlines.sync_start
    aggregate.record_change(f"{operation.kind}.delivered", operation=operation)


def schedule_next_attempt(aggregate: ConnectionAggregate, operation: Operation, *, next_attempt_at: datetime) -> None:
    """Let a request that was not delivered wait for its next attempt, where people can see it."""
    operation.next_attempt_at = next_attempt_at
    aggregate.record_change(f"{operation.kind}.delayed", operation=operation)


def record_undeliverable(
    aggregate: ConnectionAggregate, operation: Operation, *, ending: str, error: str, now: datetime
) -> None:
    """End an operation whose request cannot be delivered; `ending` is a name of `domain/endings.py`."""
    if transition(operation, "gave_up", now=now):
        _record_unanswered_end(aggregate, operation, ending, error=error, action="undelivered", now=now)


def expire_operation(aggregate: ConnectionAggregate, operation: Operation, *, now: datetime) -> None:
    """End an operation that has waited too long, saying for what."""
    ending_and_message = EXPIRY_ENDINGS.get((operation.kind, operation.state))
    if operation.state == "pending" and not operation.attempts and operation.last_attempt_error is None:
        ending_and_message = "not_sent", NEVER_SENT_MESSAGE.format(kind=operation.kind)
    if ending_and_message is not None and transition(operation, "expired", now=now):
        ending, error = ending_and_message
        _record_unanswered_end(aggregate, operation, ending, error=error, action="expired", now=now)


def end_by_person(aggregate: ConnectionAggregate, operation: Operation, *, ended_by: str, now: datetime) -> bool:
    """End an operation that somebody has given up on; False if it has ended. An answer that still comes repairs it."""
    if not transition(operation, "expired", now=now):
        return False
    error = f"Ended by {ended_by} without an answer"
    _record_unanswered_end(aggregate, operation, "ended", error=error, action="ended", now=now)
    return True


def end_undelivered_sync_of_disabled(aggregate: ConnectionAggregate, *, ended_by: str, now: datetime) -> None:
    """End a sync that the external service has not been told of, for its connection was disabled.

    One that it was told of is its own to end. One that is being told right now may still be started there: what it says
    of it is taken.
    """
    for operation in list(aggregate.operations.values()):
        if operation.kind == "sync" and operation.state == "pending" and transition(operation, "expired", now=now):
            error = f"Ended when {ended_by} disabled the data source"
            _record_unanswered_end(aggregate, operation, "disabled", error=error, action="ended", now=now)


def end_operation_with_unreadable_answer(aggregate: ConnectionAggregate, operation_id: UUID, *, now: datetime) -> None:
    """End an open operation whose answer cannot be read: nobody shall wait for it. One that can be repairs it."""
    operation = aggregate.operations.get(operation_id)
    if operation is not None and transition(operation, "expired", now=now):
        error = UNREADABLE_ANSWER_MESSAGE
        _record_unanswered_end(aggregate, operation, "unreadable", error=error, action="unreadable", now=now)


def apply_report(
    aggregate: ConnectionAggregate, report: Report, *, new_id: NewIdFactory, deadlines: Deadlines, now: datetime
) -> bool:
    """Apply a report of the external service; False if it is late or a copy, and then nothing visible changes.

    `new_id` makes the id of the operation that is opened for a report nobody here asked for. Raises MessageRefused
    when the report names an operation that this connection does not have.
    """
    named = _operation_named_by(aggregate, report)
    silence_limit = deadlines.sync_silence
    if report.timestamp is not None:
        return dated_reports.apply_dated_report(
            aggregate, report, report.timestamp, new_id=new_id, silence_limit=silence_limit, now=now
        )
    operation = named or _operation_answered_by_undated(aggregate, report)
    if _is_late_or_copy(aggregate, operation, report, deadlines=deadlines, now=now):
        return named is not None and _record_start_of_ended_operation(aggregate, named, report, now=now)
    if operation is None:
        id_ = sync_order.id_for_new_operation(aggregate, report.kind, new_id)
        operation = sync_order.open_service_operation(aggregate, report.kind, id_, now=now)
        _set_asked_after(aggregate, operation, now=now)
    progress = operation.state == "running" and report.trigger == "started"
    current = operation.is_open or operation is aggregate.newest_operation(report.kind)
    operation.reported_late = not operation.is_open
    transition(operation, report.trigger, now=now)
    operation.error = report.error
    if report.documents_processed is not None:
        operation.documents_processed = report.documents_processed
    if operation.is_open:
        operation.started_at = operation.started_at or now
        operation.deadline_at = now + silence_limit
    elif current:
        record_answer_on_connection(aggregate.connection, report, operation, now=now)
    aggregate.record_change(f"{report.kind}.{'progress' if progress else report.trigger}", operation=operation)
    return True


def report_times_needing_history(
    aggregate: ConnectionAggregate, reports: Sequence[Report], *, other_ends_possible: bool, now: datetime
) -> list[datetime] | None:
    """Return the moments of these reports at which what has ended counts, or None if nothing that has ended does.

    As a rule they are answers to what is open, in their order, and then it does not. `other_ends_possible` says
    that something else may end what is open among them.
    """
    if other_ends_possible:
        return [report.timestamp for report in reports if report.timestamp is not None]
    report_times = sync_order.dated_report_times_needing_history(aggregate, reports, now=now)
    if report_times is not None or all(report.timestamp for report in reports):
        return report_times
    undated = [report for report in reports if report.timestamp is None]
    return [] if len(undated) > 1 or _undated_report_needs_history(aggregate, undated[0]) else None


def _undated_report_needs_history(aggregate: ConnectionAggregate, report: Report) -> bool:
    if report.operation_id is not None:
        named = aggregate.operations.get(report.operation_id)
        return named is not None and not named.is_open
    running = aggregate.open_operation(report.kind)
    return running is None or not running.may_be_known_to_service


def _operation_named_by(aggregate: ConnectionAggregate, report: Report) -> Operation | None:
    """Return the operation that a report names. Raises MessageRefused."""
    if report.operation_id is None:
        return None
    named = aggregate.operations.get(report.operation_id)
    if named is None or named.kind != report.kind:
        raise MessageRefused("unknown_operation", f"no {report.kind} operation of this connection has this id")
    return named


def _operation_answered_by_undated(aggregate: ConnectionAggregate, report: Report) -> Operation | None:
    """Return the operation that a report without id and time answers, or None if it answers none of ours."""
    candidate = aggregate.open_operation(report.kind) or aggregate.newest_operation(report.kind)
    if candidate is None or not candidate.may_be_known_to_service:
        return None
    return candidate if (candidate.state, report.trigger) in STATE_TRANSITIONS else None


def _set_asked_after(aggregate: ConnectionAggregate, operation: Operation, *, now: datetime) -> None:
    clock = sync_order.newest_report_clock(aggregate.connection, now=now)
    if operation.kind == "sync" and clock is not None:
        operation.asked_after = clock[0]


def _is_late_or_copy(
    aggregate: ConnectionAggregate, operation: Operation | None, report: Report, *, deadlines: Deadlines, now: datetime
) -> bool:
    """Tell whether an undated report adds nothing to what is known; with an operation's id, the id decides."""
    if operation is not None and _is_copy_of_start(operation, report, deadlines=deadlines, now=now):
        return True
    if report.operation_id is None or operation is None:
        return _is_late_or_copy_without_id(aggregate, operation, report, now=now)
    return (operation.state, report.trigger) not in STATE_TRANSITIONS


def _record_start_of_ended_operation(
    aggregate: ConnectionAggregate, operation: Operation, report: Report, *, now: datetime
) -> bool:
    """Let an operation that has ended take a start that names it and comes after its end: no state changes."""
    if report.trigger != "started" or operation.state in OPEN_STATES | {"replaced"} or operation.started_at is not None:
        return False
    operation.started_at = now
    if operation.documents_processed is None:
        operation.documents_processed = report.documents_processed
        if operation is aggregate.newest_operation("sync"):
            aggregate.connection.last_sync_documents = report.documents_processed
    aggregate.record_change("sync.started", operation=operation)
    return True


def _is_copy_of_start(operation: Operation, report: Report, *, deadlines: Deadlines, now: datetime) -> bool:
    """Tell whether an undated report says no more than that a sync runs which does.

    It is progress if it counts anew, or if the last word on the sync is too old for this to be its copy.
    """
    if (operation.state, report.trigger) != ("running", "started"):
        return False
    if report.documents_processed not in (None, operation.documents_processed) or operation.deadline_at is None:
        return False
    # Each word on a running sync sets its deadline anew.
    return operation.deadline_at - deadlines.sync_silence > now - COPY_WINDOW


def _is_late_or_copy_without_id(
    aggregate: ConnectionAggregate, operation: Operation | None, report: Report, *, now: datetime
) -> bool:
    """Tell the same without an id: a report that repeats the last answer is a copy of it."""
    if operation is None and report.trigger == "started" and aggregate.open_operation(report.kind) is not None:
        # Nobody has told the service of that one yet, so this speaks of another; there cannot be two.
        return True
    last = aggregate.last_finished_operation(report.kind)
    if operation is not None or last is None or last.finished_at is None:
        # It is awaited, or there is nothing that it could be a copy of.
        return False
    return last.finished_at > now - COPY_WINDOW and _is_same_answer(aggregate.connection, last, report)


def _is_same_answer(connection: Connection, last_operation: Operation, report: Report) -> bool:
    if last_operation.state != report.trigger or last_operation.error != report.error:
        return False
    if isinstance(report, VerificationReport):
        return report.trigger == "failed" or connection.latest_options == report.options
    # An end without a count leaves the one that progress brought.
    return report.documents_processed in (None, last_operation.documents_processed)


def _record_unanswered_end(
    aggregate: ConnectionAggregate, operation: Operation, ending: str, *, error: str, action: str, now: datetime
) -> None:
    operation.error = error
    if operation.kind == "verify":
        aggregate.connection.last_verification_error = error
        aggregate.connection.last_verification_ending = ending
    else:
        aggregate.connection.last_sync_status, aggregate.connection.last_sync_at = "failed", now
        aggregate.connection.last_sync_error, aggregate.connection.last_sync_ending = error, ending
        aggregate.connection.last_sync_documents = operation.documents_processed
    aggregate.record_change(f"{operation.kind}.{action}", operation=operation)
