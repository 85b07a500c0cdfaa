"""The bench still runs: every measure and peer, at the smallest sizes. How fast they are is no test's business."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import measures
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
        (None, None, None),
        (at_least(20), None, True),
        (at_least(21), None, False),
        (at_most(20), at_least(2), True),
        (at_most(19), at_least(2), False),
        (at_most(20), at_least(2.1), False),
    ],
)
def test_a_row_is_met_when_the_medians_are_within_every_target(
    target: object, ratio_target: object, met: object
) -> None:
    row = Row("work", "things/s", [10, 30, 20], "a peer", [5, 10, 10], target=target, ratio_target=ratio_target)  # type: ignore[arg-type]

    assert row.is_met is met
