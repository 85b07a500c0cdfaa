"""Ids in the order of time: UUIDs of version 7 (RFC 9562, section 5.7), made of a moment that the database tells.

Generators go by their host's clock, and then what one host makes stands before what another made earlier: pages,
events and the history are ordered by ids. See `docs/decisions/0028-one-clock.md`.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Of ids of one moment, those of one process are in the order of their making.
_numbers = count()
_NUMBER_BITS, _TAIL_BITS = 20, 42


def made_at(moment: datetime) -> UUID:
    """Return a new id of a moment: its milliseconds, the rest of it, a number, and what no other process has."""
    milliseconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1000)
    number = next(_numbers) % 2**_NUMBER_BITS
    return UUID(
        int=milliseconds << 80
        | 7 << 76
        | (microseconds * 4096 // 1000) << 64
        | 0b10 << 62
        | number << _TAIL_BITS
        | secrets.randbits(_TAIL_BITS)
    )


def made_after(moment: datetime, *known: UUID) -> UUID:
    """Return a new id of a moment, or the one after the last of those that are known to have come before it."""
    return max([made_at(moment), *(UUID(int=one.int + 1) for one in known)])


def first_of(moment: datetime) -> UUID:
    """Return what every id of a moment, and of any after it, is greater than."""
    return UUID(int=(moment - _EPOCH) // timedelta(milliseconds=1) << 80)
