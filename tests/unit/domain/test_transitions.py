"""Every step from every state: the table of the design, written down a second time and independently."""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter

import pytest

from app.domain import lifecycle
from app.domain.aggregate import AUDITED_FIELDS, ConnectionAggregate, Operation
from tests.factories import (
    NOON,
    PATIENCE,
    a_case,
    a_connection,
    a_sync_message,
    a_verification_message,
    an_operation,
)
from tests.unit.domain.syncing import apply

audited = attrgetter(*AUDITED_FIELDS)
STATES = ("pending", "delivered", "running", "succeeded", "failed", "undelivered", "expired", "replaced")
TRIGGERS = ("delivered", "gave_up", "started", "succeeded", "failed", "expired", "replaced")

# A column for each trigger, in the order of TRIGGERS; a dot is a trigger that comes too late.
SYNC = {
    #               delivered    gave_up        started    succeeded    failed    expired    replaced
    "pending":     ("delivered", "undelivered", "running", "succeeded", "failed", "expired", "replaced"),
    "delivered":   (".",         ".",           "running", "succeeded", "failed", "expired", "replaced"),
    "running":     (".",         ".",           "running", "succeeded", "failed", "expired", "replaced"),
    "succeeded":   (".",         ".",           ".",       ".",         ".",      ".",       "."),
    "failed":      (".",         ".",           ".",       ".",         ".",      ".",       "."),
    "undelivered": (".",         ".",           ".",       "succeeded", "failed", ".",       "."),
    "expired":     (".",         ".",           ".",       "succeeded", "failed", ".",       "."),
    "replaced":    (".",         ".",           ".",       ".",         ".",      ".",       "."),
}  # fmt: skip

SYNC_STEPS = [
    (state, trigger, target)
    for state, row in SYNC.items()
    for trigger, target in zip(TRIGGERS, row, strict=True)
]  # fmt: skip
# Verifications are never announced, so they never run: they are answered or they are not.
VERIFY_STEPS = [(s, trigger, target) for s, trigger, target in SYNC_STEPS if s != "running" and trigger != "started"]
REPORTS = {
    "sync": {"started": "sync_started", "succeeded": "sync_completed", "failed": "sync_failed"},
    "verify": {"succeeded": "success", "failed": "failed"},
}


def pull(trigger: str, case: ConnectionAggregate, operation: Operation) -> None:
    """Do to the operation what the trigger stands for, through the lifecycle's own doors."""
    now = NOON + timedelta(minutes=1)
    if trigger == "delivered":
        lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=now)
    elif trigger == "gave_up":
        lifecycle.record_undeliverable(case, operation, ending="service_down", error="no way through", now=now)
    elif trigger == "expired":
        lifecycle.expire_operation(case, operation, now=now)
    elif trigger == "replaced":
        lifecycle.replace_open_operations(case, now=now)
    else:
        message = a_sync_message if operation.kind == "sync" else a_verification_message
        status = REPORTS[operation.kind][trigger]
        apply(case, message(case.connection, status, operation_id=operation.id), now=now)


def test_the_table_of_these_tests_is_complete() -> None:
    assert tuple(SYNC) == STATES
    assert all(len(row) == len(TRIGGERS) for row in SYNC.values())


@pytest.mark.parametrize(("state", "trigger", "target"), SYNC_STEPS)
def test_a_sync_takes_the_step_of_the_table(state: str, trigger: str, target: str) -> None:
    connection = a_connection()
    operation = an_operation(connection, state=state)
    case = a_case(connection, operation)

    pull(trigger, case, operation)

    assert operation.state == (state if target == "." else target)
    assert list(case.operations.values()) == [operation]


@pytest.mark.parametrize(("state", "trigger", "target"), VERIFY_STEPS)
def test_a_verification_takes_the_step_of_the_table(state: str, trigger: str, target: str) -> None:
    connection = a_connection()
    operation = an_operation(connection, kind="verify", state=state)
    case = a_case(connection, operation)

    pull(trigger, case, operation)

    assert operation.state == (state if target == "." else target)
    assert list(case.operations.values()) == [operation]


@pytest.mark.parametrize(("state", "trigger"), [(s, trigger) for s, trigger, target in SYNC_STEPS if target == "."])
def test_a_trigger_that_comes_too_late_leaves_the_connection_alone(state: str, trigger: str) -> None:
    connection = a_connection(last_sync_status="completed", last_sync_at=NOON)
    operation = an_operation(connection, state=state, started_at=NOON)
    case = a_case(connection, operation)
    before = audited(connection)

    pull(trigger, case, operation)

    assert audited(connection) == before
    assert case.changes == []


@pytest.mark.parametrize(
    ("state", "trigger"),
    [(s, trigger) for s, trigger, target in SYNC_STEPS if target not in (".", "delivered", "running")],
)
def test_an_operation_that_ends_waits_for_nothing_any_more(state: str, trigger: str) -> None:
    connection = a_connection()
    operation = an_operation(
        connection, state=state, deadline_at=NOON, next_attempt_at=NOON, queued_until=NOON, claimed_until=NOON
    )

    pull(trigger, a_case(connection, operation), operation)

    assert operation.finished_at == NOON + timedelta(minutes=1)
    assert operation.deadline_at is None
    assert operation.next_attempt_at is None
    assert operation.queued_until is None
    assert operation.claimed_until is None


@pytest.mark.parametrize(
    ("sync_state", "verify_state", "status"),
    [
        (None, None, "idle"),
        (None, "pending", "verifying"),
        (None, "delivered", "verifying"),
        ("pending", None, "syncing"),
        ("delivered", None, "syncing"),
        ("running", None, "syncing"),
        ("running", "delivered", "syncing"),
        ("pending", "pending", "syncing"),
        ("succeeded", "delivered", "verifying"),
        ("expired", "failed", "idle"),
        ("undelivered", "replaced", "idle"),
    ],
)
def test_the_status_is_computed_from_the_open_operations_and_a_sync_goes_first(
    sync_state: str | None, verify_state: str | None, status: str
) -> None:
    connection = a_connection(status="idle")
    states = {"sync": sync_state, "verify": verify_state}
    operations = [an_operation(connection, kind=kind, state=state) for kind, state in states.items() if state]
    case = a_case(connection, *operations)

    case.record_change("connection.configured")

    assert connection.status == status
