"""Whatever comes, in whatever order: what must always hold."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.domain import lifecycle
from app.domain.aggregate import ConnectionAggregate
from tests.factories import (
    NOON,
    PATIENCE,
    a_case,
    a_connection,
    a_report,
    a_sync_message,
    a_verification_message,
    an_operation,
)
from tests.unit.domain.syncing import apply

Step = tuple[str, str, bool, datetime | None]

FINISHED = {"succeeded", "failed", "replaced"}
ANSWERED = {"succeeded", "failed", "running"}
FOLLOWS = {"succeeded": ANSWERED, "failed": ANSWERED, "replaced": {"replaced"}}
STATUSES = {"sync": "syncing", "verify": "verifying"}

# Drawn with one choice each, which takes a quarter of the time of a choice for each part. Each kind is as likely as the
# others, and no date as likely as all dates.
MOMENTS = [*[None] * 7, *(NOON + timedelta(minutes=minutes) for minutes in range(-3, 4))]
SYNCS: list[Step] = list(product(["sync"], ["sync_started", "sync_completed", "sync_failed"], [False, True], MOMENTS))
VERIFICATIONS: list[Step] = list(product(["verify"], ["success", "failed"], [False, True], [None])) * 21
PRESSES: list[Step] = list(product(["press"], ["sync", "verify"], [False, True], [None])) * 21
EXPIRIES: list[Step] = list(product(["expire"], ["sync", "verify"], [False, True], [None])) * 21
steps = st.lists(st.sampled_from(SYNCS + VERIFICATIONS + PRESSES), max_size=12)


def take(case: ConnectionAggregate, step: Step, *, now: datetime) -> bool:
    kind, word, echoed, _ = step
    if kind == "press":
        state = "delivered" if echoed else "pending"
        lifecycle.open_requested_operation(
            case, an_operation(case.connection, kind=word, state=state, attempts=int(echoed)), now=now
        )
        return True
    if kind == "expire":
        running = case.open_operation(word)
        if running is not None:
            lifecycle.expire_operation(case, running, now=now)
        return running is not None
    return apply(case, message_of(case, step), now=now)


def message_of(case: ConnectionAggregate, step: Step) -> dict[str, Any]:
    kind, word, echoed, moment = step
    newest = case.newest_operation(kind)
    named = {"operation_id": newest.id} if echoed and newest else {}
    if kind == "sync":
        return a_sync_message(case.connection, word, timestamp=moment, **named)
    return a_verification_message(case.connection, word, **named)


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
            now_is = case.operations[operation_id].state
            assert state not in FINISHED or now_is in FOLLOWS[state]
            # Only by its own name: what ended it was another's end.
            assert state not in FINISHED or now_is != "running" or step[1:3] == ("sync_started", True)
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
        # A copy names what the first named: which operation is the newest may be another then.
        dated = None if moment is None else message_of(case, step)
        take(case, step, now=now)
        repeatable = moment is not None or (echoed and case.newest_operation(kind) is not None and kind != "press")
        if not repeatable:
            continue
        case.mark_as_stored()
        for _ in range(copies):
            applied = take(case, step, now=now) if dated is None else apply(case, dated, now=now)
            assert not applied
        assert case.connection_difference() is None
        assert case.changes == []


PRESS, EXPIRY = ("press", "sync", True, None), ("expire", "sync", True, None)


@settings(max_examples=2_000)
@given(
    st.lists(st.sampled_from(SYNCS + VERIFICATIONS + PRESSES + EXPIRIES), max_size=6),
    st.sampled_from(SYNCS + VERIFICATIONS),
    st.integers(0, 2),
    st.sampled_from([timedelta(minutes=1), timedelta(hours=1)]),
)
@example([PRESS, EXPIRY, PRESS, EXPIRY], ("sync", "sync_completed", True, None), 1, timedelta(hours=1))
def test_what_has_ended_changes_nothing_where_it_is_not_looked_back_at(
    sequence: list[Step], last: Step, age: int, later: timedelta
) -> None:
    case = a_case(a_connection())
    now = NOON
    for step in sequence:
        take(case, step, now=now)
        now += later
    message = message_of(case, last)
    if "operation_id" in message:
        known = sorted(o.id for o in case.operations.values() if o.kind == last[0])
        message["operation_id"] = str(known[-1 - age % len(known)])
    report = a_report(message)
    case.mark_as_stored()
    forgetful = deepcopy(case)
    for operation in case.operations.values():
        if not operation.is_open and operation.id != report.operation_id:
            del forgetful.operations[operation.id]
    if lifecycle.report_times_needing_history(forgetful, [report], other_ends_possible=False, now=now) is not None:
        return

    made = uuid7()
    applied = [
        lifecycle.apply_report(c, report, new_id=lambda: made, deadlines=PATIENCE, now=now) for c in (case, forgetful)
    ]

    assert applied[0] == applied[1]
    assert case.changes == forgetful.changes
    assert case.connection == forgetful.connection
    assert case.operation_differences() == forgetful.operation_differences()
    assert case.new_operation_values() == forgetful.new_operation_values()
