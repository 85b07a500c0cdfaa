"""Ids in the order of time: UUIDs of version 7 (RFC 9562, section 5.7), made of a moment that the database tells.

Generators go by their host's clock, and then what one host makes stands before what another made earlier: pages,
events and the history are ordered by ids. What is added to the history late gets one between its neighbours. See
`docs/decisions/0028-one-clock.md` and `0025-one-history-in-any-order.md`.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Of ids of one moment, those of one process are in the order of their making.
_sequence = count()
_SEQUENCE_BITS, _RANDOM_BITS = 20, 42
# 48 bits of milliseconds, 4 of version, 12 of the rest of them, 2 of variant, and 62.
_LOW_HALF_BITS, _MAX_DISTANCE_TO_NEIGHBOUR = 62, 1 << 54
_VERSION_7, _VARIANT = 0x7 << 76, 0b10 << 62


def new_id_at(moment: datetime) -> UUID:
    """Return a new id of a moment: its milliseconds, the rest of it, a number, and what no other process has."""
    number = next(_sequence) % 2**_SEQUENCE_BITS
    return UUID(int=_timestamp_bits(moment) | number << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


# A batch makes hundreds of one moment.
@lru_cache(maxsize=1)
def _timestamp_bits(moment: datetime) -> int:
    milliseconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1000)
    return milliseconds << 80 | _VERSION_7 | (microseconds * 4096 // 1000) << 64 | _VARIANT


def new_id_after(moment: datetime, *existing_ids: UUID) -> UUID:
    """Return a new id of a moment, or one right after the last of those that are known to have come before it."""
    return id_between(max(existing_ids, default=None), None, new_id_at(moment))


def lowest_id_at(moment: datetime) -> UUID:
    """Return what every id of a moment, and of any after it, is greater than."""
    return UUID(int=(moment - _EPOCH) // timedelta(milliseconds=1) << 80)


def id_between(lower_id: UUID | None, upper_id: UUID | None, random_id: UUID) -> UUID:
    """Return an id after `lower_id` and before `upper_id`, by the chance of `random_id`: that one itself if it fits."""
    if (lower_id is None or lower_id < random_id) and (upper_id is None or random_id < upper_id):
        return random_id
    low = -1 if lower_id is None else _comparable_bits(lower_id)
    high = 1 << 122 if upper_id is None else _comparable_bits(upper_id)
    # Right beside its neighbour, by less than anything else may be, and with room for a million more.
    beside = 1 + _comparable_bits(random_id) % _MAX_DISTANCE_TO_NEIGHBOUR
    wanted = low + beside if upper_id is None else high - beside
    if not low < wanted < high:
        wanted = (low + high) // 2
    return _id_from_comparable_bits(wanted)


def _comparable_bits(id_: UUID) -> int:
    """Return the 122 bits that differ from id to id."""
    high, low = id_.int >> 64, id_.int & ((1 << _LOW_HALF_BITS) - 1)
    return (high >> 16 << 12 | high & 0xFFF) << _LOW_HALF_BITS | low


def _id_from_comparable_bits(number: int) -> UUID:
    high, low = number >> _LOW_HALF_BITS, number & ((1 << _LOW_HALF_BITS) - 1)
    return UUID(int=(high >> 12 << 16 | high & 0xFFF) << 64 | _VERSION_7 | _VARIANT | low)
