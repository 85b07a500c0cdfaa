"""The same history whatever the order, and however many copies."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.domain.status_messages import Report
from tests.factories import NOON, a_connection, a_report, a_sync_message
from tests.unit.domain.delivery import Rows, outcome

# Ten thousand of each take minutes.
pytestmark = pytest.mark.timeout(0 if "HISTORY_EXAMPLES" in os.environ else 120)
LONGER = int(os.environ.get("HISTORY_EXAMPLES", "0"))
# Shrinking a shuffle takes minutes and gives none that is easier to read.
SETTINGS = settings(
    max_examples=LONGER or 200, derandomize=not LONGER, phases=[phase for phase in Phase if phase is not Phase.shrink]
)
STATUSES = {"started": "sync_started", "succeeded": "sync_completed", "failed": "sync_failed"}


@dataclass(frozen=True)
class Word:
    """One message of a sync: so many seconds after the last one of any sync."""

    word: str
    pause: int = 1
    count: int | None = None
    error: str | None = None


# Each drawn with one choice; half of the ends are good, and two of five counts are missing.
COUNTS = (None, None, 3, 5, 8)
starts = st.sampled_from([Word("started", pause, count) for pause in range(3) for count in COUNTS])
first_starts = st.sampled_from([Word("started", pause, count) for pause in (1, 2) for count in COUNTS])
ends = st.sampled_from(
    [Word("succeeded", pause, count) for pause in range(3) for count in COUNTS] * 2
    + [
        Word("failed", pause, count, error)
        for pause in range(3)
        for count in COUNTS
        for error in ("disk full", "no such space")
    ]
)
# Of each at least a millisecond after the one before, as the integration guide asks for.
syncs = st.tuples(first_starts, st.lists(starts, max_size=2), ends).map(lambda parts: [parts[0], *parts[1], parts[2]])


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


def _two() -> tuple[Rows, Rows]:
    """Return the rows of one connection twice: for delivery in order, and in any."""
    connection = a_connection(enabled=True)
    return Rows(copy(connection)), Rows(copy(connection))


def _words(conversation: Sequence[list[Word]]) -> list[Word]:
    return [word for sync in conversation for word in sync]


@SETTINGS
@given(st.lists(syncs, min_size=1, max_size=5), st.sampled_from([0, 1]), st.randoms(use_true_random=True))
def test_syncs_of_the_services_own_make_one_history(
    conversation: list[list[Word]], unfinished: int, chance: random.Random
) -> None:
    in_order, any_order = _two()
    words = _words(conversation)
    reports, _ = said(in_order.connection, words[: len(words) - unfinished], since=0)

    for report in reports:
        in_order.hear(report)
    for batch in shuffled(reports, chance):
        any_order.hear(*batch)

    assert outcome(any_order) == outcome(in_order)


@dataclass(frozen=True)
class Stretch:
    """What the service says after an act of ours: how that sync goes, and syncs of its own.

    `crossing` are such as began before a press and are told of after it.
    """

    act: str
    echo: str
    crossing: list[list[Word]]
    asked: list[Word]
    own: list[list[Word]]


presses = st.builds(
    Stretch,
    act=st.just("press"),
    echo=st.sampled_from(["all", "none", "start"]),
    crossing=st.just([]),
    asked=syncs,
    own=st.lists(syncs, max_size=2),
)
# Whose the first end is, only a service that names all can tell then.
crossed = st.builds(
    Stretch, st.just("press"), st.just("all"), st.lists(syncs, max_size=2), syncs, st.lists(syncs, max_size=2)
)
# A request that reached the service twice, and was answered twice.
doubled = st.builds(
    Stretch,
    st.just("double"),
    st.just("all"),
    st.just([]),
    st.tuples(syncs, syncs).map(_words),
    st.lists(syncs, max_size=2),
)
# It reached the service, and Rita never learned that.
undelivered = st.builds(
    Stretch, st.just("undelivered"), st.just("all"), st.just([]), syncs, st.lists(syncs, max_size=2)
)
expiries = st.builds(Stretch, st.just("expire"), st.just("none"), st.just([]), syncs, st.lists(syncs, max_size=2))


@SETTINGS
@given(
    st.lists(syncs, max_size=2),
    st.lists(st.one_of(presses, crossed, doubled, undelivered, expiries), min_size=1, max_size=3),
    st.randoms(use_true_random=True),
)
def test_presses_and_expiries_between_them_make_one_history(
    first: list[list[Word]], rest: list[Stretch], chance: random.Random
) -> None:
    in_order, any_order = _two()
    since = 0

    def deliver(reports: list[Report]) -> None:
        for report in reports:
            in_order.hear(report)
        for batch in shuffled(reports, chance):
            any_order.hear(*batch)

    reports, since = said(in_order.connection, _words(first), since=since)
    deliver(reports)
    for stretch in rest:
        crossing, since = said(in_order.connection, _words(stretch.crossing), since=since)
        asked, since = said(in_order.connection, stretch.asked, since=since)
        if stretch.act != "expire":
            operation_id = _press(in_order, any_order, is_taken=stretch.act != "undelivered")
            asked = _answering(asked, operation_id, echo=stretch.echo)
        else:
            for rows in (in_order, any_order):
                rows.hear(asked[0])
                rows.expire()
            asked = asked[-1:]
        own, since = said(in_order.connection, _words(stretch.own), since=since)
        deliver([*crossing, *asked, *own])

    # What the press asked for keeps its id: all but the first of what crossed it stand behind it if they came in order.
    is_placed = all(len(stretch.crossing) < 2 for stretch in rest)
    expected, found = outcome(in_order, is_placed=is_placed), outcome(any_order, is_placed=is_placed)
    told, audited = expected.pop("audit"), found.pop("audit")
    assert found == expected
    # How each operation ended is told. Of an end that was first taken for another's, the trail has that, too.
    for place, operation in enumerate(any_order.history()):
        assert operation.is_open or audited[f"sync.{operation.state}", place]
    if not any(stretch.crossing for stretch in rest):
        assert not told - audited


def _press(*all_rows: Rows, is_taken: bool) -> UUID:
    operation_id = uuid7()
    for rows in all_rows:
        rows.press(operation_id)
        if is_taken:
            rows.deliver()
        else:
            rows.give_up()
    return operation_id


def _answering(reports: list[Report], operation_id: UUID, *, echo: str) -> list[Report]:
    """Return reports with the operation's id in all of them, in none, or in the first alone."""
    named = [report.model_copy(update={"operation_id": operation_id}) for report in reports]
    return {"all": named, "none": reports, "start": named[:1] + reports[1:]}[echo]


def test_every_order_of_two_syncs_is_one_history() -> None:
    """The shortest conversation in which a start can be taken for another sync's, in full."""
    words = [Word("started", count=1), Word("failed", error="no"), Word("started"), Word("succeeded", count=9)]
    in_order, _ = _two()
    reports, _ = said(in_order.connection, words, since=0)
    for report in reports:
        in_order.hear(report)

    for order in permutations(reports):
        one_by_one, at_once = [Rows(a_connection(id=in_order.connection.id, enabled=True)) for _ in range(2)]
        for report in order:
            one_by_one.hear(report)
        at_once.hear(*order)

        assert outcome(one_by_one) == outcome(at_once) == outcome(in_order)
