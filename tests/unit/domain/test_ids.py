"""What ids are trusted with: their order is that of history, and no two are the same."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.domain import ids
from tests.factories import NOON

MANY = 2_000
SPAN = timedelta(days=365 * 100) // timedelta(microseconds=1)
MOMENTS = st.integers(0, SPAN).map(lambda microseconds: NOON + timedelta(microseconds=microseconds))
MICROSECOND = timedelta(microseconds=1)


def _made(_: int) -> list[UUID]:
    return [ids.new_id_at(NOON) for _ in range(MANY)]


@given(MOMENTS)
def test_an_id_is_a_uuid_of_version_7_of_its_moment(moment: datetime) -> None:
    made = ids.new_id_at(moment)

    assert (made.version, made.variant) == (7, RFC_4122)
    assert timedelta(0) <= moment - datetime.fromtimestamp((made.int >> 80) / 1000, UTC) < timedelta(milliseconds=1.001)


@given(MOMENTS)
def test_of_two_moments_the_later_one_has_the_greater_id(moment: datetime) -> None:
    later, earlier = ids.new_id_at(moment + MICROSECOND), ids.new_id_at(moment)

    assert earlier < later
    assert ids.lowest_id_at(moment) <= earlier


def test_ids_that_a_process_makes_of_one_moment_are_in_the_order_of_their_making() -> None:
    made = _made(0)

    assert made == sorted(set(made))


def test_an_id_comes_after_those_that_are_known_whatever_moment_they_are_of() -> None:
    ahead = [ids.new_id_at(NOON + timedelta(minutes=1)), ids.new_id_at(NOON)]

    made = ids.new_id_after(NOON, *ahead)

    assert made > max(ahead)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert ids.new_id_after(NOON + timedelta(minutes=2), *ahead) > ids.new_id_at(
        NOON + timedelta(minutes=2) - MICROSECOND
    )


def test_forked_processes_make_no_id_twice() -> None:
    # The parent has made some already, as a worker has before its pool forks.
    ids.new_id_at(NOON)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_made, range(2), chunksize=1)

    # The random part alone: the moment and the number are the same.
    assert {made.int & (2**42 - 1) for made in first}.isdisjoint(made.int & (2**42 - 1) for made in second)


def test_an_id_that_fits_stays_as_it_is() -> None:
    older, fresh = uuid7(), uuid7()

    assert ids.id_between(older, None, fresh) == fresh
    assert ids.id_between(None, None, fresh) == fresh


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_an_id_between_two_is_of_version_7_and_between_them(low: int, high: int) -> None:
    older, newer = sorted([_id(low), _id(high)])
    if newer.int - older.int < 2:
        return

    found = ids.id_between(older, newer, uuid7())

    assert older < found < newer
    assert (found.version, found.variant) == (7, "specified in RFC 4122")


@pytest.mark.parametrize("side", ["before", "after"])
def test_five_hundred_find_room_one_before_or_after_the_other(side: str) -> None:
    found = [uuid7()]
    far = uuid7(nanoseconds=0) if side == "before" else None
    for _ in range(500):
        last = found[-1]
        found.append(ids.id_between(far, last, uuid7()) if side == "before" else ids.id_between(last, None, uuid7()))

    assert len(set(found)) == len(found)
    assert found == sorted(found, reverse=side == "before")


def _id(number: int) -> UUID:
    return UUID(int=(0x0191E7F46C1E << 80) | (7 << 76) | (2 << 62) | (number & (2**62 - 1)))
