"""The same history whatever the order, and however many copies."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.domain.messages import Report
from tests.factories import NOON, a_report, a_sync_message
from tests.unit.domain.delivery import Rows, outcome

LONGER = int(os.environ.get("HISTORY_EXAMPLES", "0"))
STATUSES = {"started": "sync_started", "succeeded": "sync_completed", "failed": "sync_failed"}


@dataclass(frozen=True)
class Word:
    """One message of a sync: so many seconds after the last one of any sync."""

    word: str
    pause: int = 1
    count: int | None = None
    error: str | None = None


counts = st.sampled_from([None, None, 3, 5, 8])
starts = st.builds(Word, st.just("started"), st.integers(0, 2), counts)
ends = st.one_of(
    st.builds(Word, st.just("succeeded"), st.integers(0, 2), counts),
    st.builds(Word, st.just("failed"), st.integers(0, 2), counts, st.sampled_from(["disk full", "no such space"])),
)
# Of each at least a millisecond after the one before, as the integration guide asks for.
syncs = st.tuples(
    st.builds(Word, st.just("started"), st.integers(1, 2), counts), st.lists(starts, max_size=2), ends
).map(lambda parts: [parts[0], *parts[1], parts[2]])


def said(
    connection: Any, words: Sequence[Word], *, since: int, operation_id: UUID | None = None
) -> tuple[list[Report], int]:
    """Return messages in the order of the service's clock, and that clock after them."""
    reports = []
    for word in words:
        since += word.pause
        message: dict[str, Any] = a_sync_message(
            connection,
            STATUSES[word.word],
            timestamp=NOON + timedelta(seconds=since),
            documents_processed=word.count,
            error_message=word.error,
        )
        if operation_id is not None:
            message["operation_id"] = operation_id
        reports.append(a_report(message))
    return reports, since


def shuffled(reports: Sequence[Report], random: random.Random) -> list[list[Report]]:
    """Return the reports in any order, some of them twice, cut into batches."""
    told = [*reports, *random.sample(reports, random.randint(0, len(reports)))]
    random.shuffle(told)
    batches: list[list[Report]] = []
    while told:
        size = random.randint(1, len(told))
        batches.append(told[:size])
        told = told[size:]
    return batches


@settings(max_examples=LONGER or 300, derandomize=not LONGER)
@given(st.lists(syncs, min_size=1, max_size=5), st.booleans(), st.randoms(use_true_random=False))
def test_syncs_of_the_services_own_make_one_history(
    conversation: list[list[Word]], is_last_unfinished: bool, chance: random.Random
) -> None:
    if is_last_unfinished:
        conversation = [*conversation[:-1], conversation[-1][:-1]]
    in_order, any_order = Rows(), Rows()
    any_order.connection.id, any_order.connection.organization_id = (
        in_order.connection.id,
        in_order.connection.organization_id,
    )
    reports, _ = said(in_order.connection, [word for sync in conversation for word in sync], since=0)

    for report in reports:
        in_order.hear(report)
    for batch in shuffled(reports, chance):
        any_order.hear(*batch)

    assert outcome(any_order) == outcome(in_order)


@dataclass(frozen=True)
class Stretch:
    """What the service says between two acts of ours: the answers to a press, if it was one, and syncs of its own."""

    act: str
    echo: str
    answers: list[Word]
    own: list[list[Word]]


stretches = st.builds(
    Stretch,
    act=st.sampled_from(["press", "press", "press, undelivered", "expire"]),
    echo=st.sampled_from(["all", "none", "start"]),
    answers=syncs,
    own=st.lists(syncs, max_size=2),
)


@settings(max_examples=LONGER or 300, derandomize=not LONGER)
@given(
    st.lists(syncs, max_size=2),
    st.lists(stretches, min_size=1, max_size=3),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_presses_and_expiries_between_them_make_one_history(
    first: list[list[Word]], rest: list[Stretch], is_last_unfinished: bool, chance: random.Random
) -> None:
    in_order, any_order = Rows(), Rows()
    any_order.connection.id, any_order.connection.organization_id = (
        in_order.connection.id,
        in_order.connection.organization_id,
    )
    since = 0

    def hear(reports: list[Report], chance: random.Random) -> None:
        for report in reports:
            in_order.hear(report)
        for batch in shuffled(reports, chance):
            any_order.hear(*batch)

    reports, since = said(in_order.connection, [word for sync in first for word in sync], since=since)
    hear(reports, chance)
    for stretch in rest:
        reports = []
        if stretch.act == "expire":
            opened, since = said(in_order.connection, stretch.answers, since=since)
            for rows in (in_order, any_order):
                rows.hear(opened[0])
                rows.expire()
            reports = opened[1:] if not any(r.trigger == "started" for r in opened[1:]) else opened[-1:]
        else:
            pressed = uuid7()
            for rows in (in_order, any_order):
                rows.press(pressed)
                rows.deliver()
            named, since = said(in_order.connection, stretch.answers, since=since, operation_id=pressed)
            unnamed = [report.model_copy(update={"operation_id": None}) for report in named]
            reports = {"all": named, "none": unnamed, "start": named[:1] + unnamed[1:]}[stretch.echo]
        own, since = said(in_order.connection, [word for sync in stretch.own for word in sync], since=since)
        hear([*reports, *own], chance)

    expected, found = outcome(in_order), outcome(any_order)
    missing, more = expected.pop("audit"), found.pop("audit")
    assert found == expected
    # Nothing is left untold. Of an end that was first taken for that of the press, the press tells, too.
    missing, more = missing - more, more - missing
    assert not missing
    assert {action for action, _ in more} <= {"sync.succeeded", "sync.failed"}
