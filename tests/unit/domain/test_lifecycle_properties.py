"""Whatever comes, in whatever order: what must always hold."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import lifecycle
from app.domain.cases import Case
from tests.factories import (
    NOON,
    a_case,
    a_connection,
    a_sync_message,
    a_verification_message,
    an_operation,
)
from tests.unit.domain.syncing import apply

Step = tuple[str, str, bool, datetime | None]

FINISHED = {"succeeded", "failed", "replaced"}
STATUSES = {"sync": "syncing", "verify": "verifying"}

moments = st.one_of(st.none(), st.integers(-3, 3).map(lambda n: NOON + timedelta(minutes=n)))
syncs = st.tuples(
    st.just("sync"),
    st.sampled_from(["sync_started", "sync_completed", "sync_failed"]),
    st.booleans(),
    moments,
)
verifications = st.tuples(st.just("verify"), st.sampled_from(["success", "failed"]), st.booleans(), st.none())
presses = st.tuples(st.just("press"), st.sampled_from(["sync", "verify"]), st.booleans(), st.none())
steps = st.lists(st.one_of(syncs, verifications, presses), max_size=12)


def take(case: Case, step: Step, *, now: datetime) -> bool:
    kind, word, echoed, moment = step
    connection = case.connection
    if kind == "press":
        state = "delivered" if echoed else "pending"
        lifecycle.request(case, an_operation(connection, kind=word, state=state, attempts=int(echoed)), now=now)
        return True
    newest = case.newest(kind)
    named = {"operation_id": newest.id} if echoed and newest else {}
    if kind == "sync":
        return apply(case, a_sync_message(connection, word, timestamp=moment, **named), now=now)
    return apply(case, a_verification_message(connection, word, **named), now=now)


@settings(max_examples=300)
@given(steps)
def test_no_sequence_of_reports_reopens_a_finished_operation_or_parts_status_from_operations(
    sequence: list[Step],
) -> None:
    connection = a_connection()
    case = a_case(connection)

    for number, step in enumerate(sequence):
        before = {operation.id: operation.state for operation in case.operations.values()}
        take(case, step, now=NOON + timedelta(hours=number))

        for operation_id, state in before.items():
            assert state not in FINISHED or case.operations[operation_id].state == state
        opened = [operation.kind for operation in case.operations.values() if operation.is_open]
        assert len(opened) == len(set(opened))
        expected = "sync" if "sync" in opened else "verify" if "verify" in opened else None
        assert connection.status == STATUSES.get(expected, "idle")


@settings(max_examples=300)
@given(steps, st.integers(1, 3))
def test_a_dated_or_named_report_that_comes_again_at_once_changes_nothing(sequence: list[Step], copies: int) -> None:
    connection = a_connection()
    case = a_case(connection)

    for number, step in enumerate(sequence):
        now = NOON + timedelta(hours=number)
        kind, _, echoed, moment = step
        take(case, step, now=now)
        repeatable = moment is not None or (echoed and case.newest(kind) is not None and kind != "press")
        if not repeatable:
            continue
        case.mark_stored()
        for _ in range(copies):
            applied = take(case, step, now=now)
            assert not applied
        assert not case.connection_changed
        assert case.changes == []
