"""The state machine of operations, and what each step means for their connection. Pure: `now` is passed in.

Every function here takes an aggregate, changes it in memory, and notes the change that is to be audited and pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain import history, places
from app.domain.cases import OPEN, Case, Connection, Operation
from app.domain.messages import Report, Unacceptable, VerificationReport
from app.domain.transitions import TRANSITIONS, move, record_answer

# An undated message that says again, word for word, what was said this recently is a copy of it.
COPY_WINDOW = timedelta(minutes=10)

# The ways of being lost, each with its own words; of what was never attempted the external service knows nothing.
UNSENT = "Rita could not send the request in time; {kind} again"
LOST = {
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
    ended = [operation for operation in case.operations.values() if move(operation, "replaced", now=now)]
    for operation in ended:
        operation.error = "Replaced by a newer request"
    return [operation.id for operation in ended]


def request(case: Case, operation: Operation, *, now: datetime) -> list[UUID]:
    """Open an operation that a user asked for in place of whatever still runs; return the ids of that."""
    replaced = abandon(case, now=now)
    _come_after_what_is_known(case, operation, now=now)
    case.operations[operation.id] = operation
    if operation.kind == "sync":
        case.connection.last_sync_at = now
    case.note(f"{operation.kind}.requested", operation=operation)
    return replaced


def delivered(case: Case, operation: Operation, *, patience: Patience, now: datetime) -> None:
    """Record that the external service took the request; what it has said of it meanwhile tells more."""
    operation.delivered_at = now
    operation.next_attempt_at = None
    if not move(operation, "delivered", now=now):
        return
    if operation.kind == "sync":
        operation.deadline_at = now + patience.sync_start
    case.note(f"{operation.kind}.delivered", operation=operation)


def delayed(case: Case, operation: Operation, *, until: datetime) -> None:
    """Let a request that was not delivered wait for its next attempt, where people can see it."""
    operation.next_attempt_at = until
    case.note(f"{operation.kind}.delayed", operation=operation)


def gave_up(case: Case, operation: Operation, *, ending: str, error: str, now: datetime) -> None:
    """End an operation whose request cannot be delivered; `ending` is a name of `domain/endings.py`."""
    if move(operation, "gave_up", now=now):
        _end_unanswered(case, operation, ending, error=error, action="undelivered", now=now)


def expire(case: Case, operation: Operation, *, now: datetime) -> None:
    """End an operation that has waited too long, saying for what."""
    lost = LOST.get((operation.kind, operation.state))
    if operation.state == "pending" and not operation.attempts and operation.last_attempt_error is None:
        lost = "not_sent", UNSENT.format(kind=operation.kind)
    if lost is not None and move(operation, "expired", now=now):
        ending, error = lost
        _end_unanswered(case, operation, ending, error=error, action="expired", now=now)


def end(case: Case, operation: Operation, *, by: str, now: datetime) -> bool:
    """End an operation that somebody has given up on; False if it has ended. An answer that still comes repairs it."""
    if not move(operation, "expired", now=now):
        return False
    _end_unanswered(case, operation, "ended", error=f"Ended by {by} without an answer", action="ended", now=now)
    return True


def stop_undelivered(case: Case, *, by: str, now: datetime) -> None:
    """End a sync that the external service has not been told of, for its connection was disabled.

    One that it was told of is its own to end. One that is being told right now may still be started there: what it says
    of it is taken.
    """
    for operation in list(case.operations.values()):
        if operation.kind == "sync" and operation.state == "pending" and move(operation, "expired", now=now):
            error = f"Ended when {by} disabled the data source"
            _end_unanswered(case, operation, "disabled", error=error, action="ended", now=now)


def end_unread(case: Case, operation_id: UUID, *, now: datetime) -> None:
    """End an open operation whose answer cannot be read: nobody shall wait for it. One that can be repairs it."""
    operation = case.operations.get(operation_id)
    if operation is not None and move(operation, "expired", now=now):
        _end_unanswered(case, operation, "unreadable", error=UNREADABLE, action="unreadable", now=now)


def apply(case: Case, report: Report, *, fresh_id: places.FreshId, patience: Patience, now: datetime) -> bool:
    """Apply a report of the external service; False if it is late or a copy, and then nothing visible changes.

    `fresh_id` makes the id of the operation that is opened for a report nobody here asked for. Raises Unacceptable
    when the report names an operation that this connection does not have.
    """
    named = _named(case, report)
    if report.timestamp is not None:
        return history.apply(case, report, report.timestamp, fresh_id=fresh_id, silence=patience.sync_silence, now=now)
    operation = named or _asked_for(case, report)
    if _is_late(case, operation, report, patience=patience, now=now):
        return named is not None and _tell_start(case, named, report, now=now)
    if operation is None:
        id_ = places.newest_id(case, report.kind, fresh_id)
        operation = places.opened(case, report.kind, id_, now=now)
        _come_after_what_is_known(case, operation, now=now)
    progress = operation.state == "running" and report.trigger == "started"
    current = operation.is_open or operation is case.newest(report.kind)
    operation.reported_late = not operation.is_open
    move(operation, report.trigger, now=now)
    operation.error = report.error
    if report.documents_processed is not None:
        operation.documents_processed = report.documents_processed
    if operation.is_open:
        operation.started_at = operation.started_at or now
        operation.deadline_at = now + patience.sync_silence
    elif current:
        record_answer(case.connection, report, operation, now=now)
    case.note(f"{report.kind}.{'progress' if progress else report.trigger}", operation=operation)
    return True


def looks_back(case: Case, reports: Sequence[Report], *, ends: bool, now: datetime) -> list[datetime] | None:
    """Return the moments of these reports at which what has ended counts, or None if nothing that has ended does.

    As a rule they are answers to what is open, in their order, and then it does not. `ends` says that something else
    may end what is open among them.
    """
    if ends:
        return [report.timestamp for report in reports if report.timestamp is not None]
    past = places.looks_back(case, reports, now=now)
    if past is not None or all(report.timestamp for report in reports):
        return past
    undated = [report for report in reports if report.timestamp is None]
    return [] if len(undated) > 1 or _looks_back(case, undated[0]) else None


def _looks_back(case: Case, report: Report) -> bool:
    if report.operation_id is not None:
        named = case.operations.get(report.operation_id)
        return named is not None and not named.is_open
    running = case.open(report.kind)
    return running is None or not running.was_sent


def _named(case: Case, report: Report) -> Operation | None:
    """Return the operation that a report names. Raises Unacceptable."""
    if report.operation_id is None:
        return None
    named = case.operations.get(report.operation_id)
    if named is None or named.kind != report.kind:
        raise Unacceptable("unknown_operation", f"no {report.kind} operation of this connection has this id")
    return named


def _asked_for(case: Case, report: Report) -> Operation | None:
    """Return the operation that a report without id and time answers, or None if it answers none of ours."""
    candidate = case.open(report.kind) or case.newest(report.kind)
    if candidate is None or not candidate.was_sent:
        return None
    return candidate if (candidate.state, report.trigger) in TRANSITIONS else None


def _come_after_what_is_known(case: Case, operation: Operation, *, now: datetime) -> None:
    clock = places.clock_of(case.connection, now=now)
    if operation.kind == "sync" and clock is not None:
        operation.asked_after = clock[0]


def _is_late(case: Case, operation: Operation | None, report: Report, *, patience: Patience, now: datetime) -> bool:
    """Tell whether an undated report adds nothing to what is known; with an operation's id, the id decides."""
    if operation is not None and _repeats_start(operation, report, patience=patience, now=now):
        return True
    if report.operation_id is None or operation is None:
        return _is_late_without_id(case, operation, report, now=now)
    return (operation.state, report.trigger) not in TRANSITIONS


def _tell_start(case: Case, operation: Operation, report: Report, *, now: datetime) -> bool:
    """Let an operation that has ended take a start that names it and comes after its end: no state changes."""
    if report.trigger != "started" or operation.state in OPEN | {"replaced"} or operation.started_at is not None:
        return False
    operation.started_at = now
    if operation.documents_processed is None:
        operation.documents_processed = report.documents_processed
        if operation is case.newest("sync"):
            case.connection.last_sync_documents = report.documents_processed
    case.note("sync.started", operation=operation)
    return True


def _repeats_start(operation: Operation, report: Report, *, patience: Patience, now: datetime) -> bool:
    """Tell whether an undated report says no more than that a sync runs which does.

    It is progress if it counts anew, or if the last word on the sync is too old for this to be its copy.
    """
    if (operation.state, report.trigger) != ("running", "started"):
        return False
    if report.documents_processed not in (None, operation.documents_processed) or operation.deadline_at is None:
        return False
    # Each word on a running sync sets its deadline anew.
    return operation.deadline_at - patience.sync_silence > now - COPY_WINDOW


def _is_late_without_id(case: Case, operation: Operation | None, report: Report, *, now: datetime) -> bool:
    """Tell the same without an id: a report that repeats the last answer is a copy of it."""
    if operation is None and report.trigger == "started" and case.open(report.kind) is not None:
        # Nobody has told the service of that one yet, so this speaks of another; there cannot be two.
        return True
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


def _end_unanswered(case: Case, operation: Operation, ending: str, *, error: str, action: str, now: datetime) -> None:
    operation.error = error
    if operation.kind == "verify":
        case.connection.last_verification_error = error
        case.connection.last_verification_ending = ending
    else:
        case.connection.last_sync_ending = ending
        case.connection.last_sync_documents = operation.documents_processed
        case.connection.last_sync_status = "failed"
        case.connection.last_sync_error = error
        case.connection.last_sync_at = now
    case.note(f"{operation.kind}.{action}", operation=operation)
