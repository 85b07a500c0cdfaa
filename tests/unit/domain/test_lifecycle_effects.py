"""CONTRACT's section 5, row by row: what each message does to its connection, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import NOON, PATIENCE, a_case, a_connection, a_sync_message, a_verification_message, an_operation
from tests.unit.domain.syncing import LATER, a_syncing_case, a_verifying_case, apply


def test_sync_started_sets_syncing_and_nothing_else() -> None:
    connection = a_connection(last_sync_status="failed", last_sync_error="disk full", last_sync_at=NOON)
    case = a_case(connection)

    applied = apply(case, a_sync_message(connection, "sync_started"))

    assert applied
    assert connection.status == "syncing"
    assert (connection.last_sync_status, connection.last_sync_error) == ("failed", "disk full")
    assert connection.last_sync_at == NOON


def test_sync_completed_sets_idle_and_clears_the_error() -> None:
    case = a_syncing_case(last_sync_status="failed", last_sync_error="disk full", last_sync_at=NOON)
    connection = case.connection

    apply(case, a_sync_message(connection, "sync_completed", documents_processed=12))

    assert connection.status == "idle"
    assert connection.last_sync_status == "completed"
    assert connection.last_sync_error is None
    assert connection.last_sync_at == LATER


def test_sync_failed_sets_idle_with_the_message_as_its_error() -> None:
    case = a_syncing_case(last_sync_status="completed")
    connection = case.connection

    apply(case, a_sync_message(connection, "sync_failed", error_message="disk full"))

    assert connection.status == "idle"
    assert connection.last_sync_status == "failed"
    assert connection.last_sync_error == "disk full"
    assert connection.last_sync_at == LATER


def test_a_good_verification_stores_its_options_and_clears_the_error() -> None:
    case = a_verifying_case(last_verification_error="wrong password", latest_options={"spaces": "OLD"})
    connection = case.connection

    apply(case, a_verification_message(connection, "success", options={"spaces": "ENG,PROD"}))

    assert connection.status == "idle"
    assert connection.latest_options == {"spaces": "ENG,PROD"}
    assert connection.last_verification_error is None
    assert connection.last_verification_at == LATER
    assert connection.verified_at == LATER


def test_a_bad_verification_keeps_the_options_of_the_last_good_one() -> None:
    case = a_verifying_case(latest_options={"spaces": "ENG"}, verified_at=NOON)
    connection = case.connection

    apply(case, a_verification_message(connection, "failed", error="wrong password"))

    assert connection.status == "idle"
    assert connection.last_verification_error == "wrong password"
    assert connection.last_verification_at == LATER
    assert connection.latest_options == {"spaces": "ENG"}
    assert connection.verified_at == NOON


@pytest.mark.parametrize("given", [{}, {"error_message": None}, {"error_message": ""}])
def test_a_failed_sync_without_a_reason_still_says_something(given: dict[str, Any]) -> None:
    case = a_syncing_case()

    apply(case, a_sync_message(case.connection, "sync_failed", **given))

    assert "without a reason" in case.connection.last_sync_error


def test_a_failed_verification_without_a_reason_still_says_something() -> None:
    case = a_verifying_case()

    apply(case, a_verification_message(case.connection, "failed", error=None))

    assert "without a reason" in case.connection.last_verification_error


def test_an_error_beside_a_success_is_ignored() -> None:
    case = a_verifying_case()

    apply(case, a_verification_message(case.connection, "success", error="harmless warning"))

    assert case.connection.last_verification_error is None


@pytest.mark.parametrize("status", ["sync_started", "sync_completed", "sync_failed"])
def test_a_sync_message_leaves_what_verification_said_alone(status: str) -> None:
    case = a_syncing_case(latest_options={"spaces": "A"}, last_verification_at=NOON, last_verification_error="x")
    connection = case.connection

    apply(case, a_sync_message(connection, status))

    assert connection.latest_options == {"spaces": "A"}
    assert (connection.last_verification_at, connection.last_verification_error) == (NOON, "x")


@pytest.mark.parametrize("status", ["success", "failed"])
def test_a_verification_leaves_what_sync_said_alone(status: str) -> None:
    case = a_verifying_case(last_sync_status="failed", last_sync_at=NOON, last_sync_error="disk full")
    connection = case.connection

    apply(case, a_verification_message(connection, status))

    assert (connection.last_sync_status, connection.last_sync_error) == ("failed", "disk full")
    assert connection.last_sync_at == NOON


def test_a_verification_does_not_erase_a_running_syncs_status() -> None:
    connection = a_connection(status="syncing")
    sync = an_operation(connection, state="running")
    verification = an_operation(connection, kind="verify")
    case = a_case(connection, sync, verification)

    apply(case, a_verification_message(connection, "success", options={"spaces": "A"}))

    assert connection.status == "syncing"
    assert connection.latest_options == {"spaces": "A"}
    assert (sync.state, verification.state) == ("running", "succeeded")


def test_a_sync_does_not_erase_a_running_verifications_status() -> None:
    case = a_verifying_case()
    connection = case.connection

    apply(case, a_sync_message(connection, "sync_started", timestamp=NOON))
    during = connection.status
    apply(case, a_sync_message(connection, "sync_completed", timestamp=LATER))

    assert during == "syncing"
    assert connection.status == "verifying"
    assert connection.last_sync_status == "completed"


def test_a_sync_that_the_service_started_itself_opens_an_operation_of_its_own() -> None:
    connection = a_connection()
    case = a_case(connection)

    apply(case, a_sync_message(connection, "sync_started", documents_processed=3))

    (operation,) = case.operations.values()
    assert (operation.origin, operation.kind, operation.state) == ("service", "sync", "running")
    assert operation.requested_by is None
    assert operation.started_at == LATER
    assert operation.deadline_at == LATER + PATIENCE.sync_silence
    assert operation.documents_processed == 3


def test_progress_extends_the_deadline_and_counts_documents() -> None:
    case = a_syncing_case()
    connection = case.connection
    apply(case, a_sync_message(connection, "sync_started", timestamp=NOON), now=NOON)

    apply(case, a_sync_message(connection, "sync_started", timestamp=LATER, documents_processed=70), now=LATER)

    (operation,) = case.operations.values()
    assert operation.documents_processed == 70
    assert operation.started_at == NOON
    assert operation.deadline_at == LATER + PATIENCE.sync_silence
    assert [change.action for change in case.changes] == ["sync.started", "sync.progress"]


def test_a_message_without_a_count_keeps_the_one_known() -> None:
    case = a_syncing_case()
    connection = case.connection
    apply(case, a_sync_message(connection, "sync_started", timestamp=NOON, documents_processed=70))

    apply(case, a_sync_message(connection, "sync_completed", timestamp=LATER))

    (operation,) = case.operations.values()
    assert operation.documents_processed == 70


def test_a_change_tells_each_audited_field_before_and_after() -> None:
    case = a_syncing_case(last_sync_status="failed", last_sync_error="disk full")

    apply(case, a_sync_message(case.connection, "sync_completed"))

    (change,) = case.changes
    assert change.action == "sync.succeeded"
    assert change.fields == {
        "status": ("syncing", "idle"),
        "last_sync_status": ("failed", "completed"),
        "last_sync_error": ("disk full", None),
        "last_sync_at": (None, LATER),
    }
    assert change.operation == next(iter(case.operations.values()))


def test_two_changes_of_one_case_each_tell_their_own_part() -> None:
    case = a_syncing_case()
    connection = case.connection

    apply(case, a_sync_message(connection, "sync_failed", timestamp=NOON, error_message="disk full"))
    apply(case, a_verification_message(connection, "failed", error="wrong password"))

    first, second = case.changes
    assert set(first.fields) == {"status", "last_sync_status", "last_sync_error", "last_sync_at"}
    assert set(second.fields) == {"last_verification_error", "last_verification_at"}
    assert first.connection.last_verification_error is None
    assert second.connection.last_verification_error == "wrong password"
