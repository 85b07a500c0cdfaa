"""Operations that end without an answer, and answers that come after the end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain import lifecycle
from tests.factories import NOON, PATIENCE, a_case, a_connection, a_sync_message, a_verification_message, an_operation
from tests.unit.domain.syncing import LATER, a_case_with, apply


def test_a_request_opens_its_operation_and_a_sync_stamps_its_time() -> None:
    connection = a_connection()
    case = a_case(connection)

    lifecycle.open_requested_operation(case, an_operation(connection, state="pending"), now=NOON)

    assert connection.status == "syncing"
    assert connection.last_sync_at == NOON
    assert [change.action for change in case.changes] == ["sync.requested"]


def test_a_request_to_verify_leaves_the_sync_fields_alone() -> None:
    connection = a_connection()
    case = a_case(connection)

    lifecycle.open_requested_operation(case, an_operation(connection, kind="verify", state="pending"), now=NOON)

    assert connection.status == "verifying"
    assert connection.last_sync_at is None
    assert [change.action for change in case.changes] == ["verify.requested"]


def test_a_delivered_sync_waits_anew_for_its_start() -> None:
    case, operation = a_case_with(state="pending", next_attempt_at=NOON)

    lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=NOON)

    assert operation.delivered_at == NOON
    assert operation.next_attempt_at is None
    assert operation.deadline_at == NOON + PATIENCE.sync_start


def test_a_delivery_that_waits_for_its_next_attempt_is_told_to_whoever_looks_on() -> None:
    case, operation = a_case_with(state="pending", next_attempt_at=NOON)

    lifecycle.schedule_next_attempt(case, operation, next_attempt_at=NOON + timedelta(seconds=5))

    assert (operation.state, operation.next_attempt_at) == ("pending", NOON + timedelta(seconds=5))
    (change,) = case.changes
    assert (change.action, change.running_operation) == ("sync.delayed", operation)


def test_a_delivered_verification_keeps_the_deadline_that_its_credentials_have() -> None:
    case, operation = a_case_with(kind="verify", state="pending")

    lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=NOON + timedelta(minutes=1))

    assert operation.deadline_at == NOON + PATIENCE.verification


def test_a_start_that_overtook_the_record_of_its_delivery_stays() -> None:
    case, operation = a_case_with(state="pending", next_attempt_at=NOON)
    apply(case, a_sync_message(case.connection, "sync_started", operation_id=operation.id), now=NOON)

    lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=NOON + timedelta(seconds=1))

    assert operation.state == "running"
    assert operation.delivered_at == NOON + timedelta(seconds=1)
    assert operation.deadline_at == NOON + PATIENCE.sync_silence


def test_an_answer_that_overtook_the_record_of_its_delivery_stays() -> None:
    case, operation = a_case_with(state="pending", next_attempt_at=NOON)
    apply(case, a_sync_message(case.connection, "sync_completed", operation_id=operation.id), now=NOON)
    case.mark_as_stored()

    lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=NOON + timedelta(seconds=1))

    assert operation.state == "succeeded"
    assert operation.deadline_at is None
    assert case.changes == []


def test_a_sync_given_up_is_a_failed_sync() -> None:
    case, operation = a_case_with(state="pending")

    lifecycle.record_undeliverable(case, operation, ending="service_down", error="no way through", now=NOON)

    connection = case.connection
    assert (connection.status, connection.last_sync_status) == ("idle", "failed")
    assert (connection.last_sync_error, connection.last_sync_at) == ("no way through", NOON)
    assert (operation.state, operation.error) == ("undelivered", "no way through")
    assert [change.action for change in case.changes] == ["sync.undelivered"]


def test_a_verification_given_up_tells_its_error_and_no_more() -> None:
    case, operation = a_case_with(kind="verify", state="pending")

    lifecycle.record_undeliverable(case, operation, ending="service_down", error="no way through", now=NOON)

    connection = case.connection
    assert (connection.status, connection.last_verification_error) == ("idle", "no way through")
    assert connection.last_sync_status is None
    assert connection.last_sync_error is None


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("verify", "pending", "could not be delivered to the external service in time; verify again"),
        ("verify", "delivered", "did not answer in time; verify again"),
        ("sync", "pending", "could not be delivered to the external service in time; sync again"),
        ("sync", "delivered", "accepted the sync but did not start it in time; sync again"),
        ("sync", "running", "stopped reporting on the sync; sync again"),
    ],
)
def test_each_way_of_being_lost_has_its_own_words(kind: str, state: str, words: str) -> None:
    case, operation = a_case_with(kind=kind, state=state)

    lifecycle.expire_operation(case, operation, now=LATER)

    connection = case.connection
    told = connection.last_verification_error if kind == "verify" else connection.last_sync_error
    assert operation.error == told
    assert told.endswith(words)
    assert connection.status == "idle"
    assert [change.action for change in case.changes] == [f"{kind}.expired"]


@pytest.mark.parametrize("state", ["expired", "undelivered"])
@pytest.mark.parametrize("echo", ["with id", "without id"])
def test_a_completion_after_the_end_of_patience_repairs_the_history(state: str, echo: str) -> None:
    case, operation = a_case_with(state=state, error="lost", finished_at=NOON)
    connection = case.connection
    connection.last_sync_status, connection.last_sync_error = "failed", "lost"
    named = {"operation_id": operation.id} if echo == "with id" else {}

    applied = apply(case, a_sync_message(connection, "sync_completed", **named))

    assert applied
    assert (operation.state, operation.error, operation.reported_late) == ("succeeded", None, True)
    assert (connection.last_sync_status, connection.last_sync_error) == ("completed", None)
    assert connection.last_sync_at == LATER
    assert list(case.operations) == [operation.id]


@pytest.mark.parametrize("state", ["expired", "undelivered"])
def test_a_verifications_answer_after_the_end_of_patience_repairs_the_history(state: str) -> None:
    case, operation = a_case_with(kind="verify", state=state, error="lost", finished_at=NOON)

    apply(case, a_verification_message(case.connection, "success", options={"spaces": "A"}))

    assert (operation.state, operation.reported_late) == ("succeeded", True)
    assert case.connection.latest_options == {"spaces": "A"}
    assert case.connection.last_verification_error is None


def test_a_failure_after_the_end_of_patience_tells_the_real_reason() -> None:
    case, operation = a_case_with(state="expired", error="lost", finished_at=NOON)

    apply(case, a_sync_message(case.connection, "sync_failed", error_message="disk full"))

    assert (operation.state, operation.error) == ("failed", "disk full")
    assert case.connection.last_sync_error == "disk full"


@pytest.mark.parametrize("state", ["pending", "delivered", "running", "succeeded", "failed", "expired"])
def test_a_late_answer_to_an_older_question_does_not_touch_what_the_newer_one_said(state: str) -> None:
    connection = a_connection(last_sync_status="failed", last_sync_error="newer words", last_sync_at=NOON)
    older = an_operation(connection, state="expired", error="lost", finished_at=NOON)
    newer = an_operation(connection, state=state)
    case = a_case(connection, older, newer)

    applied = apply(case, a_sync_message(connection, "sync_completed", operation_id=older.id))

    assert applied
    assert (older.state, older.reported_late) == ("succeeded", True)
    assert newer.state == state
    assert connection.last_sync_status == "failed"
    assert (connection.last_sync_error, connection.last_sync_at) == ("newer words", NOON)


def test_a_late_answer_to_an_older_verification_does_not_bring_its_options_back() -> None:
    connection = a_connection(latest_options={"spaces": "NEW"}, verified_at=NOON)
    older = an_operation(connection, kind="verify", state="expired")
    newer = an_operation(connection, kind="verify", state="succeeded")
    case = a_case(connection, older, newer)

    apply(case, a_verification_message(connection, "success", options={"spaces": "OLD"}, operation_id=older.id))

    assert connection.latest_options == {"spaces": "NEW"}
    assert connection.verified_at == NOON


def test_a_late_start_of_an_expired_sync_does_not_reopen_it() -> None:
    case, operation = a_case_with(state="expired", finished_at=NOON)

    apply(case, a_sync_message(case.connection, "sync_started", operation_id=operation.id))

    assert (operation.state, operation.started_at) == ("expired", LATER)
    assert case.connection.status == "idle"


def test_force_replaces_whatever_runs() -> None:
    connection = a_connection()
    sync = an_operation(connection, state="running")
    verification = an_operation(connection, kind="verify")
    case = a_case(connection, sync, verification)
    forced = an_operation(connection, state="pending", attempts=0)

    lifecycle.open_requested_operation(case, forced, now=NOON)

    assert [sync.state, verification.state, forced.state] == ["replaced", "replaced", "pending"]
    assert {sync.error, verification.error} == {"Replaced by a newer request"}
    assert connection.status == "syncing"


@pytest.mark.parametrize("status", ["sync_started", "sync_completed", "sync_failed"])
def test_reports_of_a_replaced_sync_change_nothing(status: str) -> None:
    connection = a_connection()
    replaced = an_operation(connection, state="running")
    forced = an_operation(connection, state="pending", attempts=0)
    case = a_case(connection, replaced)
    lifecycle.open_requested_operation(case, forced, now=NOON)
    case.mark_as_stored()

    applied = apply(case, a_sync_message(connection, status, operation_id=replaced.id))

    assert not applied
    assert case.connection_difference() is None
    assert case.operation_differences() == []
    assert forced.state == "pending"


def test_the_end_of_a_replaced_sync_said_without_an_id_does_not_end_the_new_one() -> None:
    connection = a_connection()
    replaced = an_operation(connection, state="running")
    forced = an_operation(connection, state="pending", attempts=0)
    case = a_case(connection, replaced)
    lifecycle.open_requested_operation(case, forced, now=NOON)

    apply(case, a_sync_message(connection, "sync_completed"))

    assert (replaced.state, forced.state) == ("replaced", "pending")
    assert connection.status == "syncing"


def test_what_is_abandoned_with_its_connection_ends() -> None:
    case, operation = a_case_with(state="running")

    lifecycle.replace_open_operations(case, now=NOON)

    assert (operation.state, operation.finished_at) == ("replaced", NOON)
    assert case.running_operation() is None
