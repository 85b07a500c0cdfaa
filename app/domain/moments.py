"""A moment as the programs of this world write it, in UTC; what could mean two moments is refused. Pure.

docs/integration.md has the table of what each language writes. A clock without a zone is taken to be UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds of 2000 to 2100. Counted in milliseconds, microseconds or nanoseconds, the same years are other numbers, none
# of which is in this range: so a number says its unit itself.
_SECONDS = (Decimal(946_684_800), Decimal(4_102_444_800))
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
# What stands for any moment that no clock tells: a number that is too small or too large in every unit (0), or a year
# that Python's calendar does not have.
NEVER = datetime.min.replace(tzinfo=UTC)
# Of a number's text: a longer one is no moment.
_LONGEST_NUMBER = 40

_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1,
)}  # fmt: skip
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun),? "
_TIME = r"(?P<clock>\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)"
_OFFSET = r"(?P<offset>[+-]\d\d:?\d\d|z|utc|gmt|ut)"
_DATED = r"(?P<date>\d{4}-\d\d-\d\d)"
_FORMS = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        # Ruby's Time, Rust's chrono; Go's Time.String(), with the name of the zone and the process's own clock.
        rf"{_DATED}[t ]{_TIME} ?{_OFFSET}(?: [a-z+-][a-z0-9+-]*)?(?: m=[+-][\d.]+)?",
        # Java's ZonedDateTime: the offset decides, the name only explains it.
        rf"{_DATED}[t ]{_TIME}{_OFFSET}\[[a-z0-9_+/-]+\]",
        # RFC 2822 and HTTP.
        rf"(?:{_DAY})?(?P<day>\d\d?) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_TIME} {_OFFSET}",
        # JavaScript's Date.toString().
        rf"{_DAY}(?P<month>[a-z]{{3}}) (?P<day>\d\d) (?P<year>\d{{4}}) {_TIME} gmt{_OFFSET}(?: \([^()]*\))?",
        # Java's Date.toString(), of a machine in UTC.
        rf"{_DAY}(?P<month>[a-z]{{3}}) (?P<day>\d\d?) {_TIME} {_OFFSET} (?P<year>\d{{4}})",
    )
)
# What PHP makes of MySQL's 0000-00-00, and the ends of Java's and JavaScript's calendars.
_BEYOND = re.compile(r"(?:0000|-\d{4,10}|\+\d*[1-9]\d{4,10})-\d\d-\d\d(?![^t ])", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
# .NET of old: milliseconds; the offset only says what the clock on the wall showed.
_DOTNET = re.compile(r"/date\((-?\d{1,17})(?:[+-]\d{4})?\)/", re.ASCII | re.IGNORECASE)
# Of more parts or other letters no place has its name, and zoneinfo looks for each part in turn.
_PLACE = re.compile(r"[a-z0-9_+-]{1,40}(?:/[a-z0-9_+-]{1,40}){1,3}", re.ASCII | re.IGNORECASE)
# What Jackson makes of a LocalDateTime: year, month, day, hour, minute and, unless they are zero, second, nanosecond.
_SHORTEST_ARRAY, _LONGEST_ARRAY = 5, 7


def read(value: Any) -> datetime:
    """Return the moment that a value of JSON means, in UTC, or NEVER. Raises ValueError."""
    if isinstance(value, datetime):
        return _in_utc(value)
    reader = _READERS.get(type(value))
    if reader is None:
        raise ValueError("is no date and time")
    try:
        return _in_utc(reader(value))
    except (OverflowError, InvalidOperation):
        return NEVER


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _of_text(text: str) -> datetime:
    # Digits alone count from 1970; as ISO 8601 in short they would be years and weeks.
    if not text.isdigit():
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    text = text.strip()
    if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        return _of_number(Decimal(text))
    if milliseconds := _DOTNET.fullmatch(text):
        return _EPOCH + timedelta(milliseconds=int(milliseconds[1]))
    if _BEYOND.match(text):
        return NEVER
    for form in _FORMS:
        if found := form.fullmatch(text):
            return _of_parts(**found.groupdict())
    raise ValueError("is no date and time that can be read; write ISO 8601 with an offset (RFC 3339)")


def _of_parts(*, clock: str, offset: str, date: str = "", year: str = "", month: str = "", day: str = "") -> datetime:
    if not date:
        number = _MONTHS.get(month.lower())
        if number is None:
            raise ValueError("is no date and time: its month has another name in English")
        date = f"{year}-{number:02}-{int(day):02}"
    zone = "+00:00" if offset[0] not in "+-" else offset
    return datetime.fromisoformat(f"{date}T{clock}{zone}")


def _of_number(number: Decimal) -> datetime:
    if not number.is_finite():
        raise ValueError("is no number")
    for unit in _UNITS:
        seconds = number / unit
        if _SECONDS[0] <= seconds < _SECONDS[1]:
            return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    return NEVER


def _of_float(number: float) -> datetime:
    return _of_number(Decimal(repr(number)))


def _of_array(parts: list[Any]) -> datetime:
    if not _SHORTEST_ARRAY <= len(parts) <= _LONGEST_ARRAY or not all(type(part) is int for part in parts):
        raise ValueError("is no date and time")
    year, month, day, hour, minute, second, nanosecond = [*parts, 0, 0][:_LONGEST_ARRAY]
    return datetime(year, month, day, hour, minute, second, nanosecond // 1_000, tzinfo=UTC)


def _of_object(said: dict[str, Any]) -> datetime:
    """Read what kombu makes of a datetime, and PHP of a DateTime: the time of a place, and which place."""
    if said.get("__type__") == "datetime" and isinstance(written := said.get("__value__"), str):
        return datetime.fromisoformat(written)
    date, zone = said.get("date"), said.get("timezone")
    if not isinstance(date, str) or not isinstance(zone, str):
        raise ValueError("is no date and time")  # noqa: TRY004 - its reader is told of a value, not of a bug
    if _BEYOND.match(date):
        return NEVER
    moment = datetime.fromisoformat(date)
    if moment.tzinfo is not None:
        raise ValueError("has two zones")
    if re.fullmatch(r"[+-]\d\d:\d\d", zone, re.ASCII):
        return datetime.fromisoformat(f"{moment.isoformat()}{zone}")
    return _in_place(moment, zone)


def _in_place(moment: datetime, zone: str) -> datetime:
    if zone.upper() in ("UTC", "Z", "GMT"):
        return moment.replace(tzinfo=UTC)
    if "/" not in zone:
        # CET, IST: several places call their time so.
        raise ValueError("names a zone that means several")
    try:
        place = ZoneInfo(zone) if _PLACE.fullmatch(zone) else None
    except (KeyError, ValueError, OSError):
        place = None
    if place is None:
        raise ValueError("names a zone that is not known here")
    first, second = (moment.replace(tzinfo=place, fold=fold).utcoffset() for fold in (0, 1))
    if first != second or first is None:
        raise ValueError("is an hour that this place has twice or not at all")
    return moment.replace(tzinfo=timezone(first))


_READERS: dict[type, Callable[[Any], datetime]] = {
    str: _of_text, int: lambda number: _of_number(Decimal(number)), float: _of_float, list: _of_array,
    dict: _of_object,
}  # fmt: skip
