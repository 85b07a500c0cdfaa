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
_numbers = count()
_NUMBER_BITS, _TAIL_BITS = 20, 42
# 48 bits of milliseconds, 4 of version, 12 of the rest of them, 2 of variant, and 62.
_LOW, _BESIDE = 62, 1 << 54
_VERSION_7, _VARIANT = 0x7 << 76, 0b10 << 62


def made_at(moment: datetime) -> UUID:
    """Return a new id of a moment: its milliseconds, the rest of it, a number, and what no other process has."""
    number = next(_numbers) % 2**_NUMBER_BITS
    return UUID(int=_beginning(moment) | number << _TAIL_BITS | secrets.randbits(_TAIL_BITS))


# A batch makes hundreds of one moment.
@lru_cache(maxsize=1)
def _beginning(moment: datetime) -> int:
    milliseconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1000)
    return milliseconds << 80 | _VERSION_7 | (microseconds * 4096 // 1000) << 64 | _VARIANT


def made_after(moment: datetime, *known: UUID) -> UUID:
    """Return a new id of a moment, or one right after the last of those that are known to have come before it."""
    return between(max(known, default=None), None, made_at(moment))


def first_of(moment: datetime) -> UUID:
    """Return what every id of a moment, and of any after it, is greater than."""
    return UUID(int=(moment - _EPOCH) // timedelta(milliseconds=1) << 80)


def between(older: UUID | None, newer: UUID | None, fresh: UUID) -> UUID:
    """Return an id after `older` and before `newer`, by the chance of `fresh`: that one itself if it fits."""
    if (older is None or older < fresh) and (newer is None or fresh < newer):
        return fresh
    low = -1 if older is None else _number(older)
    high = 1 << 122 if newer is None else _number(newer)
    # Right beside its neighbour, by less than anything else may be, and with room for a million more.
    beside = 1 + _number(fresh) % _BESIDE
    wanted = low + beside if newer is None else high - beside
    if not low < wanted < high:
        wanted = (low + high) // 2
    return _id(wanted)


def _number(id_: UUID) -> int:
    """Return the 122 bits that differ from id to id."""
    high, low = id_.int >> 64, id_.int & ((1 << _LOW) - 1)
    return (high >> 16 << 12 | high & 0xFFF) << _LOW | low


def _id(number: int) -> UUID:
    high, low = number >> _LOW, number & ((1 << _LOW) - 1)
    return UUID(int=(high >> 12 << 16 | high & 0xFFF) << 64 | _VERSION_7 | _VARIANT | low)
