"""An id that lies between two others, as history needs it for what comes late."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.domain import ids


def test_an_id_that_fits_stays_as_it_is() -> None:
    older, fresh = uuid7(), uuid7()

    assert ids.between(older, None, fresh) == fresh
    assert ids.between(None, None, fresh) == fresh


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_an_id_between_two_is_of_version_7_and_between_them(low: int, high: int) -> None:
    older, newer = sorted([_id(low), _id(high)])
    if newer.int - older.int < 2:
        return

    found = ids.between(older, newer, uuid7())

    assert older < found < newer
    assert (found.version, found.variant) == (7, "specified in RFC 4122")


@pytest.mark.parametrize("side", ["before", "after"])
def test_five_hundred_find_room_one_before_or_after_the_other(side: str) -> None:
    found = [uuid7()]
    far = uuid7(nanoseconds=0) if side == "before" else None
    for _ in range(500):
        last = found[-1]
        found.append(ids.between(far, last, uuid7()) if side == "before" else ids.between(last, None, uuid7()))

    assert len(set(found)) == len(found)
    assert found == sorted(found, reverse=side == "before")


def _id(number: int) -> UUID:
    return UUID(int=(0x0191E7F46C1E << 80) | (7 << 76) | (2 << 62) | (number & (2**62 - 1)))
