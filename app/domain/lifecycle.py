"""The state machine of operations, and what each step means for their connection. Pure: `now` is passed in.

Every function here takes a case, changes it in memory, and notes the change that is to be audited and pushed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain.cases import OPEN, Case, Connection, Operation
from app.domain.messages import AHEAD, Report, Unacceptable, VerificationReport

# These ended without a word from the external service; its answer, however late, is the truth.
UNANSWERED = frozenset({"expired", "undelivered"})

# (state, trigger) → state. What is not here does not happen: the trigger comes late and changes nothing.
TRANSITIONS = {
    ("pending", "delivered"): "delivered",
    ("pending", "gave_up"): "undelivered",
    **{(state, "started"): "running" for state in OPEN},
    **{(state, "succeeded"): "succeeded" for state in OPEN | UNANSWERED},
    **{(state, "failed"): "failed" for state in OPEN | UNANSWERED},
    **{(state, "expired"): "expired" for state in OPEN},
    **{(state, "replaced"): "replaced" for state in OPEN},
}

# Reports of one instant, in the order in which they can only have happened.
RANKS = {"started": 0, "succeeded": 1, "failed": 1}

# An undated message that says again, word for word, what was said this recently is a copy of it.
COPY_WINDOW = timedelta(minutes=10)

# The ways of being lost, each with its own words; of what was never attempted the external service knows nothing.
UNSENT = {
    "verify": "Rita could not send the request in time; verify again",
    "sync": "Rita could not send the request in time; sync again",
}
LOST = {
    ("verify", "pending"): "The request could not be delivered to the external service in time; verify again",
    ("verify", "delivered"): "The external service did not answer in time; verify again",
    ("sync", "pending"): "The request could not be delivered to the external service in time; sync again",
    ("sync", "delivered"): "The external service accepted the sync but did not start it in time; sync again",
    ("sync", "running"): "The external service stopped reporting on the sync; sync again",
}


UNREADABLE = "The external service's answer could not be read"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the external service, by what is awaited."""

    verify: timedelta
    sync_delivery: timedelta
    sync_start: timedelta
    sync_silence: timedelta


def abandon(case: Case, *, now: datetime) -> list[UUID]:
    """End whatever still runs, without an answer; return the ids of what did."""
    ended = [operation for operation in case.operations.values() if _move(operation, "replaced", now=now)]
    for operation in ended:
        operation.error = "Replaced by a newer request"
    return [operation.id for operation in ended]


def request(case: Case, operation: Operation, *, now: datetime) -> list[UUID]:
    """Open an operation that a user asked for in place of whatever still runs; return the ids of that."""
    replaced = abandon(case, now=now)
    case.operations[operation.id] = operation
    if operation.kind == "sync":
        case.connection.last_sync_at = now
    case.note(f"{operation.kind}.requested", operation=operation)
    return replaced


def delivered(case: Case, operation: Operation, *, patience: Patience, now: datetime) -> None:
    """Record that the external service took the request; what it has said of it meanwhile tells more."""
    operation.delivered_at = now
    operation.next_attempt_at = None
    if not _move(operation, "delivered", now=now):
        return
    if operation.kind == "sync":
        operation.deadline_at = now + patience.sync_start
    case.note(f"{operation.kind}.delivered", operation=operation)


def delayed(case: Case, operation: Operation, *, until: datetime) -> None:
    """Let a request that was not delivered wait for its next attempt, where people can see it."""
    operation.next_attempt_at = until
    case.note(f"{operation.kind}.delayed", operation=operation)


def gave_up(case: Case, operation: Operation, *, error: str, now: datetime) -> None:
    """End an operation whose request cannot be delivered."""
    if _move(operation, "gave_up", now=now):
        _end_unanswered(case, operation, error=error, action="undelivered", now=now)


def expire(case: Case, operation: Operation, *, now: datetime) -> None:
    """End an operation that has waited too long, saying for what."""
    error = LOST.get((operation.kind, operation.state))
    if operation.state == "pending" and not operation.attempts and operation.last_attempt_error is None:
        error = UNSENT[operation.kind]
    if error is not None and _move(operation, "expired", now=now):
        _end_unanswered(case, operation, error=error, action="expired", now=now)


def end(case: Case, operation: Operation, *, by: str, now: datetime) -> bool:
    """End an operation that somebody has given up on; False if it has ended. An answer that still comes repairs it."""
    if not _move(operation, "expired", now=now):
        return False
    _end_unanswered(case, operation, error=f"Ended by {by} without an answer", action="ended", now=now)
    return True


def stop_undelivered(case: Case, *, by: str, now: datetime) -> None:
    """End a sync that the external service has not been told of, for its connection was disabled.

    One that it was told of is its own to end. One that is being told right now may still be started there: what it says
    of it is taken.
    """
    for operation in list(case.operations.values()):
        if operation.kind == "sync" and operation.state == "pending" and _move(operation, "expired", now=now):
            error = f"Ended when {by} disabled the data source"
            _end_unanswered(case, operation, error=error, action="ended", now=now)


def end_unread(case: Case, operation_id: UUID, *, now: datetime) -> None:
    """End an open operation whose answer cannot be read: nobody shall wait for it. One that can be repairs it."""
    operation = case.operations.get(operation_id)
    if operation is not None and _move(operation, "expired", now=now):
        _end_unanswered(case, operation, error=UNREADABLE, action="unreadable", now=now)


def apply(case: Case, report: Report, *, fresh_id: UUID, patience: Patience, now: datetime) -> bool:
    """Apply a report of the external service; False if it is late or a copy, and then nothing visible changes.

    `fresh_id` names the operation that is opened for a report nobody here asked for. Raises Unacceptable when the
    report names an operation that this connection does not have.
    """
    _forget_impossible_clock(case.connection, now=now)
    operation = _asked_for(case, report)
    if _is_late(case, operation, report, patience=patience, now=now):
        known = operation or case.newest(report.kind)
        if known is not None:
            known.late_reports += 1
        return False
    if operation is None:
        operation = Operation(
            id=fresh_id,
            organization_id=case.connection.organization_id,
            connection_id=case.connection.id,
            kind=report.kind,
            origin="service",
            state="delivered",
            created_at=now,
            deadline_at=None,
        )
        case.operations[operation.id] = operation
    progress = operation.state == "running" and report.trigger == "started"
    current = operation.is_open or operation is case.newest(report.kind)
    operation.reported_late = not operation.is_open
    _move(operation, report.trigger, now=now)
    operation.error = report.error
    if report.documents_processed is not None:
        operation.documents_processed = report.documents_processed
    if report.kind == "sync":
        _record_clock(case.connection, operation, report)
    if operation.is_open:
        operation.started_at = operation.started_at or now
        operation.deadline_at = now + patience.sync_silence
    elif current:
        _record_answer(case.connection, report, now=now)
    case.note(f"{report.kind}.{'progress' if progress else report.trigger}", operation=operation)
    return True


def looks_back(case: Case, report: Report) -> bool:
    """Tell whether a report is judged by what has ended, too: not if it is an answer to what is open, as a rule."""
    if report.operation_id is not None:
        named = case.operations.get(report.operation_id)
        return named is not None and not named.is_open
    running = case.open(report.kind)
    if running is not None:
        return not running.was_sent
    return report.trigger != "started" or not _is_newer(report, case.connection)


def _asked_for(case: Case, report: Report) -> Operation | None:
    """Return the operation that a report answers, or None if it answers none of ours."""
    if report.operation_id is not None:
        named = case.operations.get(report.operation_id)
        if named is None or named.kind != report.kind:
            raise Unacceptable("unknown_operation", f"no {report.kind} operation of this connection has this id")
        return named
    candidate = case.open(report.kind) or case.newest(report.kind)
    if candidate is None or not candidate.was_sent:
        return None
    return candidate if (candidate.state, report.trigger) in TRANSITIONS else None


def _is_late(case: Case, operation: Operation | None, report: Report, *, patience: Patience, now: datetime) -> bool:
    """Tell whether a report adds nothing to what is known; with an operation's id, the id decides."""
    if operation is not None and _repeats_start(operation, report, patience=patience, now=now):
        return True
    if report.operation_id is None or operation is None:
        return _is_late_without_id(case, operation, report, now=now)
    return (operation.state, report.trigger) not in TRANSITIONS


def _repeats_start(operation: Operation, report: Report, *, patience: Patience, now: datetime) -> bool:
    """Tell whether a report says no more than that a sync runs which does; a later one is progress.

    An undated one is progress if it counts anew, or if the last word on the sync is too old for this to be its copy.
    """
    if (operation.state, report.trigger) != ("running", "started"):
        return False
    if report.timestamp is not None:
        return not _is_after(report.timestamp, operation.last_reported_at)
    if report.documents_processed not in (None, operation.documents_processed) or operation.deadline_at is None:
        return False
    # Each word on a running sync sets its deadline anew.
    return operation.deadline_at - patience.sync_silence > now - COPY_WINDOW


def _is_late_without_id(case: Case, operation: Operation | None, report: Report, *, now: datetime) -> bool:
    """Tell the same by the service's own timestamps, compared with each other only.

    Equal ones go by what can only have come first. An undated report that repeats the last answer is a copy.
    """
    if operation is None and report.trigger == "started" and case.open(report.kind) is not None:
        # Nobody has told the service of that one yet, so this speaks of another; there cannot be two.
        return True
    if report.timestamp is not None:
        return not _is_newer(report, case.connection)
    last = case.last_finished(report.kind)
    if operation is not None or last is None or last.finished_at is None:
        # It is awaited, or there is nothing that it could be a copy of.
        return False
    return last.finished_at > now - COPY_WINDOW and _says_the_same(case.connection, last, report)


def _says_the_same(connection: Connection, last: Operation, report: Report) -> bool:
    if last.state != report.trigger or last.error != report.error:
        return False
    if isinstance(report, VerificationReport):
        return report.trigger == "failed" or connection.latest_options == report.options
    # An end without a count leaves the one that progress brought.
    return report.documents_processed in (None, last.documents_processed)


def _is_after(moment: datetime | None, other: datetime | None) -> bool:
    return moment is not None and (other is None or moment > other)


def _move(operation: Operation, trigger: str, *, now: datetime) -> bool:
    """Take the step that the table allows; tell whether there was one."""
    state = TRANSITIONS.get((operation.state, trigger))
    if state is None:
        return False
    operation.state = state
    if state not in OPEN:
        operation.finished_at = now
        operation.deadline_at = operation.next_attempt_at = operation.queued_until = operation.claimed_until = None
    return True


def _is_newer(report: Report, connection: Connection) -> bool:
    """Tell whether a dated report comes after the last one applied, by the service's own clock."""
    known = connection.sync_reported_at
    if report.timestamp is None or known is None:
        return report.timestamp is not None
    return (report.timestamp, RANKS[report.trigger]) > (known, connection.sync_reported_rank or 0)


def _forget_impossible_clock(connection: Connection, *, now: datetime) -> None:
    """Let a connection listen again that a release before this one took to a time far ahead."""
    known = connection.sync_reported_at
    if known is not None and known > now + AHEAD:
        connection.sync_reported_at = connection.sync_reported_rank = None


def _record_clock(connection: Connection, operation: Operation, report: Report) -> None:
    if _is_after(report.timestamp, operation.last_reported_at):
        operation.last_reported_at = report.timestamp
    if _is_newer(report, connection):
        connection.sync_reported_at, connection.sync_reported_rank = report.timestamp, RANKS[report.trigger]


def _record_answer(connection: Connection, report: Report, *, now: datetime) -> None:
    """Write an answer into the connection: the table of CONTRACT's section 5."""
    if not isinstance(report, VerificationReport):
        connection.last_sync_status = "failed" if report.trigger == "failed" else "completed"
        connection.last_sync_error = report.error
        connection.last_sync_at = now
        return
    connection.last_verification_error = report.error
    connection.last_verification_at = now
    if report.trigger == "succeeded":
        connection.latest_options = report.options
        connection.verified_at = now


def _end_unanswered(case: Case, operation: Operation, *, error: str, action: str, now: datetime) -> None:
    operation.error = error
    if operation.kind == "verify":
        case.connection.last_verification_error = error
    else:
        case.connection.last_sync_status = "failed"
        case.connection.last_sync_error = error
        case.connection.last_sync_at = now
    case.note(f"{operation.kind}.{action}", operation=operation)
