"""The bench still runs: every measure and peer, at the smallest sizes. How fast they are is no test's business."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import measures, report
from bench.results import Measure, Row, at_least, at_most
from bench.stage import Stage, stage


@pytest.fixture(scope="module")
def prepared(rabbitmq_url: str) -> Iterator[Stage]:
    """Servers of the bench's own, wherever there is a RabbitMQ."""
    assert rabbitmq_url
    with stage() as started:
        yield started


@pytest.mark.bench
@pytest.mark.rabbitmq
@pytest.mark.timeout(600)
@pytest.mark.parametrize("measure", measures.ALL, ids=lambda measure: measure.name)
def test_a_measure_finds_a_figure_for_the_product_and_for_each_of_its_peers(measure: Measure, prepared: Stage) -> None:
    rows = measure.run(prepared, measure.sizes["tiny"], 1)

    assert rows
    for row in rows:
        assert len(row.product) == 1
        assert all(figure > 0 for figure in (*row.product, *row.theirs)), row
        assert len(row.theirs) == (1 if row.peer else 0)


def test_a_ratio_is_taken_round_by_round() -> None:
    row = Row("work", "things/s", [10, 30, 20], "a peer", [5, 10, 10])

    assert row.ratios == [2, 3, 2]


@pytest.mark.parametrize(
    ("target", "ratio_target", "met"),
    [
        (None, None, []),
        (at_least(20), None, [False, True, True]),
        (at_least(10), None, [True, True, True]),
        (at_most(20), at_least(2), [True, False, True]),
        (at_most(30), at_least(2.1), [False, True, False]),
        (at_most(9), at_least(2), [False, False, False]),
    ],
)
def test_each_round_is_held_to_every_target(target: object, ratio_target: object, met: object) -> None:
    row = Row("work", "things/s", [10, 30, 20], "a peer", [5, 10, 10], target=target, ratio_target=ratio_target)  # type: ignore[arg-type]

    assert row.met == met


def test_a_target_is_met_or_missed_where_most_rounds_agree_and_open_where_they_do_not() -> None:
    rows = [Row("work", "things/s", [10, 50, 20, 40, 30], target=target) for target in map(at_least, (10, 20, 30, 50))]

    cells = [line.rsplit("|", 2)[1].strip() for line in report.table([*rows, Row("work", "things/s", [1])])][2:]
    assert cells == ["yes (5 of 5)", "yes (4 of 5)", "open (3 of 5)", "**no** (1 of 5)", "-"]
    assert report.verdict({measures.ALL[0]: rows}) == "Of 4 targets 2 are met, 1 missed, 1 open."
