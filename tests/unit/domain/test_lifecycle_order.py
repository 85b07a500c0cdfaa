"""Messages come twice, late and out of order, with an operation's id and without."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.domain.aggregate import Connection, Operation
from app.domain.status_messages import MessageRefused
from tests.factories import (
    NOON,
    a_case,
    a_connection,
    a_sync_message,
    a_verification_message,
    an_operation,
)
from tests.unit.domain.syncing import MINUTE, SECOND, a_case_with, apply


def with_id(operation: Operation, *, echo: str) -> dict[str, Any]:
    return {"operation_id": operation.id} if echo == "with id" else {}


@pytest.mark.parametrize("echo", ["with id", "without id"])
@pytest.mark.parametrize("status", ["sync_started", "sync_completed", "sync_failed"])
def test_a_second_copy_of_a_sync_message_changes_nothing(status: str, echo: str) -> None:
    case, operation = a_case_with()
    message = a_sync_message(case.connection, status, timestamp=NOON, **with_id(operation, echo=echo))
    apply(case, message)
    case.mark_as_stored()

    applied = apply(case, message, now=NOON + MINUTE)

    assert not applied
    assert case.connection_difference() is None
    assert case.changes == []
    assert case.operation_differences() == []


@pytest.mark.parametrize("echo", ["with id", "without id"])
@pytest.mark.parametrize(("status", "said"), [("success", {"options": {"spaces": "A"}}), ("failed", {"error": "no"})])
def test_a_second_copy_of_a_verification_changes_nothing(status: str, said: dict[str, Any], echo: str) -> None:
    connection = a_connection(status="verifying")
    operation = an_operation(connection, kind="verify")
    case = a_case(connection, operation)
    message = a_verification_message(connection, status, **said, **with_id(operation, echo=echo))
    apply(case, message)
    case.mark_as_stored()

    applied = apply(case, message, now=NOON + MINUTE)

    assert not applied
    assert case.connection_difference() is None
    assert list(case.operations) == [operation.id]


@pytest.mark.parametrize("echo", ["with id", "without id"])
@pytest.mark.parametrize("end", ["sync_completed", "sync_failed"])
def test_a_late_start_does_not_reopen_a_finished_sync(end: str, echo: str) -> None:
    case, operation = a_case_with()
    connection, named = case.connection, with_id(operation, echo=echo)
    apply(case, a_sync_message(connection, end, timestamp=NOON, **named))
    before = copy(connection)

    apply(case, a_sync_message(connection, "sync_started", timestamp=NOON - SECOND, **named))

    assert connection == before
    assert not operation.is_open
    # It is told of all the same, as it would have been in its order.
    assert [change.action for change in case.changes][1:] == ["sync.started"]


def test_of_one_instant_the_start_comes_before_the_end() -> None:
    case, operation = a_case_with()

    started = apply(case, a_sync_message(case.connection, "sync_started", timestamp=NOON))
    ended = apply(case, a_sync_message(case.connection, "sync_completed", timestamp=NOON))

    assert (started, ended) == (True, True)
    assert operation.state == "succeeded"


def test_of_one_instant_a_start_that_comes_after_the_end_is_of_the_same_sync() -> None:
    case, operation = a_case_with()
    apply(case, a_sync_message(case.connection, "sync_completed", timestamp=NOON))

    apply(case, a_sync_message(case.connection, "sync_started", timestamp=NOON))

    assert list(case.operations) == [operation.id]
    assert operation.state == "succeeded"


@pytest.mark.parametrize("statuses", [("sync_completed", "sync_failed"), ("sync_failed", "sync_completed")])
def test_of_two_ends_of_one_instant_the_failure_holds(statuses: tuple[str, str]) -> None:
    case, operation = a_case_with()

    for status in statuses:
        apply(case, a_sync_message(case.connection, status, timestamp=NOON))

    assert list(case.operations) == [operation.id]
    assert (operation.state, case.connection.last_sync_status) == ("failed", "failed")


@pytest.mark.parametrize("offset", [timedelta(days=-400), timedelta(days=400)], ids=["behind", "ahead"])
def test_the_services_clock_is_never_compared_with_ours(offset: timedelta) -> None:
    case, operation = a_case_with()
    connection = case.connection

    started = apply(case, a_sync_message(connection, "sync_started", timestamp=NOON + offset))
    ended = apply(case, a_sync_message(connection, "sync_completed", timestamp=NOON + offset + MINUTE), now=NOON)

    assert (started, ended) == (True, True)
    assert operation.state == "succeeded"
    assert connection.last_sync_at == NOON


def test_with_an_id_a_clock_that_stepped_back_does_not_matter() -> None:
    case, operation = a_case_with()
    connection = case.connection
    connection.sync_reported_at, connection.sync_reported_rank = NOON, 1

    applied = apply(
        case, a_sync_message(connection, "sync_completed", timestamp=NOON - MINUTE, operation_id=operation.id)
    )

    assert applied
    assert operation.state == "succeeded"
    assert connection.sync_reported_at == NOON


def test_a_start_after_the_end_by_the_services_clock_is_a_new_sync_of_its_own() -> None:
    case, operation = a_case_with()
    connection = case.connection
    apply(case, a_sync_message(connection, "sync_completed", timestamp=NOON))

    applied = apply(case, a_sync_message(connection, "sync_started", timestamp=NOON + SECOND))

    assert applied
    assert operation.state == "succeeded"
    assert case.newest_operation("sync").origin == "service"
    assert connection.status == "syncing"


def test_an_end_whose_start_got_lost_is_a_whole_sync() -> None:
    connection = a_connection()
    case = a_case(connection)

    applied = apply(case, a_sync_message(connection, "sync_completed", documents_processed=4))

    (operation,) = case.operations.values()
    assert applied
    assert (operation.origin, operation.state, operation.documents_processed) == ("service", "succeeded", 4)
    assert (connection.status, connection.last_sync_status) == ("idle", "completed")


def test_progress_with_an_id_must_be_newer_than_the_last() -> None:
    case, operation = a_case_with()

    def report_progress(moment: datetime, count: int) -> bool:
        message = a_sync_message(case.connection, "sync_started", timestamp=moment, operation_id=operation.id)
        return apply(case, message | {"documents_processed": count})

    outcomes = [report_progress(NOON, 1), report_progress(NOON + SECOND, 9), report_progress(NOON, 1)]

    assert outcomes == [True, True, False]
    assert operation.documents_processed == 9


def test_an_id_that_this_connection_does_not_have_is_unacceptable() -> None:
    case, _ = a_case_with()

    with pytest.raises(MessageRefused) as refusal:
        apply(case, a_sync_message(case.connection, "sync_completed", operation_id=uuid4()))

    assert refusal.value.reason == "unknown_operation"
    assert case.changes == []


def test_an_id_of_the_other_kind_is_unacceptable() -> None:
    case, operation = a_case_with()

    with pytest.raises(MessageRefused) as refusal:
        apply(case, a_verification_message(case.connection, "success", operation_id=operation.id))

    assert refusal.value.reason == "unknown_operation"
    assert operation.state == "delivered"


def test_a_start_of_a_sync_that_nobody_was_told_of_does_not_become_the_one_that_waits() -> None:
    case, operation = a_case_with(state="pending", attempts=0)

    applied = apply(case, a_sync_message(case.connection, "sync_started"))

    assert not applied
    assert operation.state == "pending"
    assert operation.started_at is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sync", lambda connection: a_sync_message(connection, "sync_completed")),
        ("verify", lambda connection: a_verification_message(connection, "success", options={"spaces": "A"})),
    ],
    ids=["sync", "verify"],
)
def test_an_end_that_answers_no_question_of_ours_leaves_the_one_that_waits_open(
    kind: str, message: Callable[[Connection], dict[str, Any]]
) -> None:
    connection = a_connection()
    waiting = an_operation(connection, kind=kind, state="pending", attempts=0)
    case = a_case(connection, waiting)

    applied = apply(case, message(connection))

    assert applied
    assert waiting.state == "pending"
    assert [o.origin for o in case.operations.values() if not o.is_open] == ["service"]
    assert connection.status == {"sync": "syncing", "verify": "verifying"}[kind]
