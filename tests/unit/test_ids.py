"""What ids are trusted with: their order is that of time, and no two processes make the same."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

from uuid_utils.compat import UUID, uuid7

MANY = 2_000


def _made(_: int) -> list[UUID]:
    return [uuid7() for _ in range(MANY)]


def test_ids_of_a_process_are_in_the_order_of_their_making() -> None:
    made = _made(0)

    assert made == sorted(set(made))


def test_an_id_begins_with_the_millisecond_of_its_making() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = uuid7()

    assert before <= datetime.fromtimestamp((made.int >> 80) / 1000, UTC) <= datetime.now(UTC)


def test_forked_processes_make_no_id_twice() -> None:
    # The parent's generator is at work already, as a worker's is before its pool forks.
    uuid7()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_made, range(2), chunksize=1)

    # The random half alone: that of two generators with one seed would be the same in another millisecond, too.
    assert {made.int & (2**62 - 1) for made in first}.isdisjoint(made.int & (2**62 - 1) for made in second)
