"""Ids between ids: a UUID of version 7 (RFC 9562, section 5.7) with the place in history that belongs to it."""

from __future__ import annotations

from uuid import UUID

# 48 bits of milliseconds, 4 of version, 12 by chance, 2 of variant, 62 by chance.
_LOW, _BESIDE = 62, 1 << 54
_VERSION_7, _VARIANT = 0x7 << 76, 0b10 << 62


def between(older: UUID | None, newer: UUID | None, fresh: UUID) -> UUID:
    """Return an id after `older` and before `newer`, by the chance of `fresh`: that one itself if it fits."""
    low = -1 if older is None else _number(older)
    high = 1 << 122 if newer is None else _number(newer)
    wanted = _number(fresh)
    if not low < wanted < high:
        # Right beside its neighbour, by less than anything else may be, and with room for a million more.
        beside = 1 + wanted % _BESIDE
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
