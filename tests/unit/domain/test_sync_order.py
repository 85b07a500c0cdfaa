"""Conversations that once made another history out of order: each was found by `test_one_history.py`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from app.domain import lifecycle
from app.domain.aggregate import ConnectionAggregate
from app.domain.status_messages import Report
from tests.factories import NOON, a_case, a_connection, a_report, a_sync_message, an_operation
from tests.unit.domain.delivery import Rows, outcome
from tests.unit.domain.syncing import apply

STATUSES = {"start": "sync_started", "end": "sync_completed", "fault": "sync_failed"}


def told(connection: Any, words: str, operation_id: UUID | str | None = None) -> list[Report]:
    """Return reports of what `start 3, end 4, our end 6` says: a word and its second, "our" if it names the press."""
    reports = []
    for each in words.split(", "):
        *ours, word, second = each.split()
        message = a_sync_message(connection, STATUSES[word], timestamp=NOON + timedelta(seconds=int(second)))
        reports.append(a_report(message | ({"operation_id": operation_id} if ours else {})))
    return reports


def after_a_press(*batches: str) -> Rows:
    """Return the rows after a press that was delivered and these batches."""
    rows, operation_id = Rows(copy(CONNECTION)), uuid7()
    rows.press(operation_id)
    rows.deliver()
    for words in batches:
        rows.hear(*told(CONNECTION, words, operation_id))
    return rows


CONNECTION = a_connection(enabled=True)
# Two syncs of the service's own, one of which had begun before the press was taken up; the press; two more.
IN_ORDER = "start 1, end 2, our start 5, our end 6, start 7, start 8, end 9, start 10, start 11, end 12"
LATE_END_OF_OURS = [
    "end 2, start 1, start 7, end 9, our start 5",
    "end 12, start 10, start 8, end 9",
    "start 11",
    "our end 6",
]


def shown(rows: Rows) -> list[int]:
    """Return the seconds at which the syncs ended, in the order of the history."""
    return [round((o.last_reported_at - NOON).total_seconds()) for o in rows.history() if o.last_reported_at]


def looks_back(case: ConnectionAggregate, reports: Sequence[Report]) -> bool:
    return lifecycle.report_times_needing_history(case, reports, other_ends_possible=False, now=NOON) is not None


def test_what_an_end_in_the_same_batch_has_ended_may_open_again_beside_what_ended_before() -> None:
    asked = an_operation(CONNECTION)

    assert looks_back(a_case(copy(CONNECTION), asked), told(CONNECTION, "end 8, our start 10", asked.id))
    assert not looks_back(a_case(copy(CONNECTION), asked), told(CONNECTION, "our start 10, our end 11", asked.id))


def test_an_end_while_a_press_waits_to_be_sent_is_placed_among_what_ended_before() -> None:
    waiting = an_operation(CONNECTION, state="pending", attempts=0)

    assert looks_back(a_case(copy(CONNECTION), waiting), told(CONNECTION, "start 3, end 4"))


def test_a_start_kept_by_a_press_that_waits_leaves_nothing_behind_when_its_end_comes() -> None:
    in_order, swapped = Rows(copy(CONNECTION)), Rows(copy(CONNECTION))
    for rows in (in_order, swapped):
        rows.press(uuid7())
    start, end = told(CONNECTION, "start 3, end 4")

    in_order.hear(start)
    in_order.hear(end)
    swapped.hear(end)
    swapped.hear(start)

    assert [o.reports is None for o in in_order.history()] == [False, True]
    assert outcome(swapped)["operations"] == outcome(in_order)["operations"]


def test_an_answer_of_the_instant_of_another_end_is_placed_beside_it() -> None:
    asked, connection = an_operation(CONNECTION), copy(CONNECTION)
    connection.sync_reported_at, connection.sync_reported_rank = NOON + timedelta(seconds=4), 1

    assert looks_back(a_case(connection, asked), told(connection, "our end 4", asked.id))


def test_an_end_taken_for_the_answer_goes_behind_all_that_ended_before_it() -> None:
    in_order = after_a_press("end 6, start 7, end 8, our start 9", "our end 10", "end 12")

    swapped = after_a_press("end 6, start 7, end 8, our start 9", "end 12", "our end 10")

    assert shown(in_order) == shown(swapped) == [6, 10, 8, 12]
    assert outcome(swapped, is_placed=False)["operations"] == outcome(in_order, is_placed=False)["operations"]


def test_an_end_has_its_starts_wherever_they_were_kept_until_it_came() -> None:
    words = "start 1, end 3, start 4, start 5, end 6, our start 7, our end 8, start 9, end 10"
    in_order = after_a_press(*words.split(", "))

    # The second start is taken for the next sync's, and the first one kept by the press.
    mixed = after_a_press("end 3, start 1, start 5, our end 8, start 9", "start 4", "our start 7, end 6", "end 10")

    assert outcome(mixed, is_placed=False)["operations"] == outcome(in_order, is_placed=False)["operations"]
    assert [len((o.reports or "").split()) for o in mixed.history()] == [2, 3, 2, 2]


def test_a_press_that_ended_late_is_found_behind_syncs_that_began_after_it() -> None:
    in_order = after_a_press(*IN_ORDER.split(", "))

    late = after_a_press(*LATE_END_OF_OURS)

    assert outcome(late)["operations"] == outcome(in_order)["operations"]
    assert shown(late) == [2, 6, 9, 12]


def test_an_undated_sync_that_ended_while_a_press_waits_stands_before_it() -> None:
    case = a_case(a_connection(), an_operation(CONNECTION, state="pending", attempts=0))
    waiting = case.open_operation("sync")
    assert waiting is not None

    apply(case, a_sync_message(case.connection, "sync_completed", timestamp=None))
    apply(case, a_sync_message(case.connection, "sync_failed", timestamp=None))

    first, second, newest = sorted(case.operations.values(), key=lambda o: o.id)
    assert (first.state, second.state, newest) == ("succeeded", "failed", waiting)
