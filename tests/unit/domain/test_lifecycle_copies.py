"""Copies of messages that carry neither an operation's id nor a clock: told by what they say, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.domain import lifecycle
from app.domain.aggregate import Connection
from tests.factories import (
    PATIENCE,
    a_case,
    a_connection,
    a_sync_message,
    a_verification_message,
    an_operation,
)
from tests.unit.domain.syncing import LATER, MINUTE, SECOND, a_case_with, apply


def undated(connection: Connection, status: str, **fields: Any) -> dict[str, Any]:
    """Return a sync message of the old dialect, which may leave its clock out."""
    message = a_sync_message(connection, status, **fields)
    del message["type"], message["timestamp"]
    return message


@pytest.mark.parametrize("said", [{}, {"documents_processed": 7}])
def test_an_undated_end_that_says_the_same_again_soon_is_a_copy(said: dict[str, Any]) -> None:
    case, operation = a_case_with()
    message = undated(case.connection, "completed", **said)
    apply(case, message)

    applied = apply(case, message, now=LATER + lifecycle.COPY_WINDOW - SECOND)

    assert not applied
    assert [change.operation.id for change in case.changes] == [operation.id]


def test_an_undated_end_without_a_count_is_a_copy_although_progress_had_counted() -> None:
    case, operation = a_case_with()
    connection = case.connection
    apply(case, undated(connection, "started", documents_processed=7))
    apply(case, undated(connection, "failed", error="disk full"))

    applied = apply(case, undated(connection, "failed", error="disk full"), now=LATER + SECOND)

    assert not applied
    assert list(case.operations) == [operation.id]


@pytest.mark.parametrize("echo", ["with id", "without id"])
@pytest.mark.parametrize("said", [{}, {"documents_processed": 7}])
def test_an_undated_start_that_says_the_same_again_soon_is_a_copy(said: dict[str, Any], echo: str) -> None:
    case, operation = a_case_with()
    named = {"operation_id": operation.id} if echo == "with id" else {}
    message = undated(case.connection, "started", **said, **named)
    apply(case, message)
    deadline = operation.deadline_at

    applied = apply(case, message, now=LATER + lifecycle.COPY_WINDOW - SECOND)

    assert not applied
    assert operation.deadline_at == deadline
    assert [change.action for change in case.changes] == ["sync.started"]


@pytest.mark.parametrize(
    ("said", "pause"),
    [({"documents_processed": 8}, SECOND), ({}, lifecycle.COPY_WINDOW)],
    ids=["another count", "after the window"],
)
def test_an_undated_start_that_is_no_copy_is_progress(said: dict[str, Any], pause: timedelta) -> None:
    case, operation = a_case_with()
    message = undated(case.connection, "started", documents_processed=7)
    apply(case, message)

    applied = apply(case, message | said, now=LATER + pause)

    assert applied
    assert operation.deadline_at == LATER + pause + PATIENCE.sync_silence
    assert [change.action for change in case.changes] == ["sync.started", "sync.progress"]


def test_an_undated_end_that_says_the_same_after_the_window_is_another_sync() -> None:
    case, _ = a_case_with()
    message = undated(case.connection, "completed")
    apply(case, message)

    applied = apply(case, message, now=LATER + lifecycle.COPY_WINDOW)

    assert applied
    assert len(case.operations) == 2
    assert case.connection.last_sync_at == LATER + lifecycle.COPY_WINDOW


@pytest.mark.parametrize(
    "other", [{"documents_processed": 8}, {"status": "failed"}, {"status": "failed", "error": "disk full"}]
)
def test_an_undated_end_that_says_something_else_is_no_copy(other: dict[str, Any]) -> None:
    case, _ = a_case_with()
    apply(case, undated(case.connection, "completed", documents_processed=7))

    applied = apply(case, undated(case.connection, "completed", documents_processed=7) | other, now=LATER + SECOND)

    assert applied
    assert len(case.operations) == 2


def test_a_verification_with_other_options_is_no_copy() -> None:
    connection = a_connection()
    case = a_case(connection)
    apply(case, a_verification_message(connection, "success", options={"spaces": "A"}))

    applied = apply(case, a_verification_message(connection, "success", options={"spaces": "A,B"}), now=LATER + SECOND)

    assert applied
    assert connection.latest_options == {"spaces": "A,B"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sync", lambda connection: undated(connection, "completed")),
        ("verify", lambda connection: a_verification_message(connection, "failed", error="no")),
    ],
    ids=["sync", "verify"],
)
def test_a_copy_of_the_last_answer_changes_nothing_while_the_next_question_waits_to_be_sent(
    kind: str, message: Callable[[Connection], dict[str, Any]]
) -> None:
    connection = a_connection()
    case = a_case(connection, an_operation(connection, kind=kind))
    apply(case, message(connection))
    waiting = an_operation(connection, kind=kind, state="pending", attempts=0)
    lifecycle.open_requested_operation(case, waiting, now=LATER + MINUTE)
    case.mark_as_stored()

    applied = apply(case, message(connection), now=LATER + 2 * MINUTE)

    assert not applied
    assert case.connection_difference() is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sync", lambda connection: undated(connection, "completed")),
        ("sync", lambda connection: undated(connection, "failed", error="disk full")),
        ("verify", lambda connection: a_verification_message(connection, "failed", error="wrong password")),
        ("verify", lambda connection: a_verification_message(connection, "success", options={"spaces": "A"})),
    ],
    ids=["a completed sync", "a failed sync", "a bad verification", "a good verification"],
)
def test_the_same_answer_to_a_question_that_was_sent_since_is_no_copy(
    kind: str, message: Callable[[Connection], dict[str, Any]]
) -> None:
    connection = a_connection()
    case = a_case(connection, an_operation(connection, kind=kind))
    apply(case, message(connection))
    asked_again = an_operation(connection, kind=kind, state="delivered", attempts=1)
    lifecycle.open_requested_operation(case, asked_again, now=LATER + MINUTE)

    applied = apply(case, message(connection), now=LATER + 2 * MINUTE)

    assert applied
    assert asked_again.state in ("succeeded", "failed")
    assert connection.status == "idle"
