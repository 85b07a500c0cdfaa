"""The judge sees each thing that it is there for: evidence of one whole operation, with one thing wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.browser import Event
from tests.faults.judge import LONGEST_RECOVERY, Verdict, judge
from tests.faults.ledger import Evidence, Expect, Press, Sent
from tests.receiver import Received

ID, CONNECTION = str(uuid4()), str(uuid4())


def a_webhook(body: dict[str, Any], *, webhook_id: str = ID) -> Received:
    return Received("/webhook", {"webhook-id": webhook_id}, json.dumps(body).encode())


def an_event(change: str, *, event_id: str) -> Event:
    data = {"operation_id": ID, "connectionId": CONNECTION, "change": change, "status": "idle"}
    return Event(event_id, "data_source_update", data, 0.0)


def evidence() -> Evidence:
    """Return what one sync leaves behind that was pressed, delivered, answered and pushed."""
    return Evidence(
        presses=[Press("sync", CONNECTION, 200, ID, 0.0)],
        webhooks=[a_webhook({"operation_id": ID})],
        sent=[Sent(b"ended", Expect.EFFECT, CONNECTION, ID, "succeeded", "7")],
        operations=[
            {
                "id": ID,
                "connection_id": CONNECTION,
                "kind": "sync",
                "origin": "user",
                "state": "succeeded",
                "error": None,
                "started_at": None,
                "deadline_at": None,
                "documents_processed": 7,
            }
        ],
        connections=[{"id": CONNECTION, "status": "idle", "last_sync_error": None, "last_verification_error": None}],
        audit=[{"operation_id": ID, "action": "sync.requested"}, {"operation_id": ID, "action": "sync.succeeded"}],
        events=[an_event("sync.requested", event_id="1-0"), an_event("sync.succeeded", event_id="2-0")],
        shown={CONNECTION: "idle"},
        recovered_after=1.0,
    )


def of_operation(**changes: Any) -> Callable[[Evidence], None]:
    def change(seen: Evidence) -> None:
        seen.operations[0] = {**seen.operations[0], **changes}

    return change


def with_service_sync(seen: Evidence, *, marker: str) -> None:
    """Add the end of a sync that nobody asked for, with nothing to show for it."""
    seen.sent.append(Sent(b"own", Expect.EFFECT, CONNECTION, None, "succeeded", marker))


def figures(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.duplicates), len(verdict.lost), len(verdict.stuck), len(verdict.wrong)


def test_a_whole_operation_is_no_problem() -> None:
    verdict = judge(evidence())

    assert verdict.problems == []
    assert (verdict.pressed, verdict.accepted, verdict.webhooks) == (1, 1, 1)
    assert (verdict.opened, verdict.ended) == (1, 1)


DUPLICATES: dict[str, Callable[[Evidence], Any]] = {
    "two audit rows of one step": lambda seen: seen.audit.append(seen.audit[-1]),
    "another body": lambda seen: seen.webhooks.append(a_webhook({"operation_id": ID, "config": "other"})),
    "another webhook id": lambda seen: seen.webhooks.append(a_webhook({"operation_id": ID}, webhook_id="other")),
    "two events of one step": lambda seen: seen.events.append(an_event("sync.succeeded", event_id="3-0")),
    "a copy that changed a row": lambda seen: seen.changed_by_copies.append("operations … was changed"),
}
LOST: dict[str, Callable[[Evidence], Any]] = {
    "an accepted press without a row": lambda seen: seen.presses.append(
        replace(seen.presses[0], operation_id=str(uuid4()))
    ),
    "a success of which the receiver knows nothing": lambda seen: seen.webhooks.clear(),
    "an answer without effect": of_operation(documents_processed=6),
    "an end of which nobody was told": of_operation(state="expired", error="lost"),
    "a service's own sync": lambda seen: with_service_sync(seen, marker="8"),
    "a bad message that was dropped": lambda seen: seen.sent.append(Sent(b"bad", Expect.DEAD_LETTER)),
}
STUCK: dict[str, Callable[[Evidence], Any]] = {
    "a status without an operation": lambda seen: seen.connections.append(
        {**seen.connections.pop(), "status": "syncing"}
    ),
    "a page that shows something else": lambda seen: seen.shown.update({CONNECTION: "syncing"}),
}


@pytest.mark.parametrize("spoil", DUPLICATES.values(), ids=DUPLICATES)
def test_what_happened_twice_is_counted(spoil: Callable[[Evidence], None]) -> None:
    seen = evidence()
    spoil(seen)

    duplicates, *others = figures(judge(seen))
    assert duplicates >= 1
    assert others == [0, 0, 0]


@pytest.mark.parametrize("spoil", LOST.values(), ids=LOST)
def test_what_is_lost_is_counted(spoil: Callable[[Evidence], None]) -> None:
    seen = evidence()
    spoil(seen)

    duplicates, lost, _, _ = figures(judge(seen))
    assert duplicates == 0
    assert lost >= 1


@pytest.mark.parametrize("spoil", STUCK.values(), ids=STUCK)
def test_what_is_shown_wrongly_is_stuck(spoil: Callable[[Evidence], None]) -> None:
    seen = evidence()
    spoil(seen)

    assert judge(seen).stuck


def test_what_is_still_open_at_the_end_is_stuck() -> None:
    seen = evidence()
    of_operation(state="running", started_at="now")(seen)

    verdict = judge(seen)

    assert (verdict.opened, verdict.ended) == (1, 0)
    assert any("still running" in sentence for sentence in verdict.stuck)


def test_an_answer_that_repairs_an_expiry_is_one_end_and_one_repair() -> None:
    seen = evidence()
    seen.audit.insert(1, {"operation_id": ID, "action": "sync.expired"})

    assert judge(seen).problems == []


def test_a_replayed_event_keeps_its_id_and_is_not_a_second_one() -> None:
    seen = evidence()
    seen.events.append(an_event("sync.succeeded", event_id="2-0"))

    assert judge(seen).problems == []


def test_an_end_that_came_late_has_a_row_of_its_own() -> None:
    seen = evidence()
    with_service_sync(seen, marker="8")
    newer = {**seen.operations[0], "id": str(uuid4()), "origin": "service", "documents_processed": 9}

    assert judge(replace(seen, operations=[*seen.operations, newer])).lost
    assert not judge(replace(seen, operations=[*seen.operations, newer, newer | {"documents_processed": 8}])).lost


def test_what_was_replaced_takes_nothing_more() -> None:
    seen = evidence()
    of_operation(state="replaced", documents_processed=None)(seen)

    assert not judge(seen).lost


def test_a_dead_letter_with_its_body_is_not_lost_and_counts_once() -> None:
    seen = evidence()
    seen.sent += [Sent(b"bad", Expect.DEAD_LETTER)] * 2
    seen.dead_letters = [b"bad"]

    assert len(judge(seen).lost) == 1


def test_an_answer_500_is_wrong_whatever_else_was_broken() -> None:
    seen = evidence()
    seen.presses.append(Press("verify", CONNECTION, 500, None, 0.0))

    assert figures(judge(seen)) == (0, 0, 0, 1)


@pytest.mark.parametrize("recovered_after", [None, LONGEST_RECOVERY + 1])
def test_a_recovery_that_never_ends_or_takes_too_long_is_a_problem(recovered_after: float | None) -> None:
    seen = evidence()
    seen.recovered_after = recovered_after

    assert len(judge(seen).problems) == 1
