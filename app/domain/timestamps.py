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
_PLAUSIBLE_SECONDS_RANGE = (Decimal(946_684_800), Decimal(4_102_444_800))
_UNITS_PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)
# What stands for any moment that no clock tells: a number that is too small or too large in every unit (0), or a year
# that Python's calendar does not have.
IMPLAUSIBLE_TIME = datetime.min.replace(tzinfo=UTC)
# Of a number's text: a longer one is no moment.
_MAX_NUMBER_LENGTH = 40

_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1,
)}  # fmt: skip
_WEEKDAY_PATTERN = r"(?:mon|tue|wed|thu|fri|sat|sun),? "
_TIME_PATTERN = r"(?P<clock>\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)"
_OFFSET_PATTERN = r"(?P<offset>[+-]\d\d:?\d\d|z|utc|gmt|ut)"
_TIME_AND_OFFSET = f"{_TIME_PATTERN} {_OFFSET_PATTERN}"
_GMT_TIME = f"{_TIME_PATTERN} gmt{_OFFSET_PATTERN}"
_DATE_PATTERN = r"(?P<date>\d{4}-\d\d-\d\d)"
_TEXT_FORMATS = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        # Ruby's Time, Rust's chrono; Go's Time.String(), with the name of the zone and the process's own clock.
        rf"{_DATE_PATTERN}[t ]{_TIME_PATTERN} ?{_OFFSET_PATTERN}(?: [a-z+-][a-z0-9+-]*)?(?: m=[+-][\d.]+)?",
        # Java's ZonedDateTime: the offset decides, the name only explains it.
        rf"{_DATE_PATTERN}[t ]{_TIME_PATTERN}{_OFFSET_PATTERN}\[[a-z0-9_+/-]+\]",
        # RFC 2822 and HTTP.
        rf"(?:{_WEEKDAY_PATTERN})?(?P<day>\d\d?) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_TIME_AND_OFFSET}",
        # JavaScript's Date.toString().
        rf"{_WEEKDAY_PATTERN}(?P<month>[a-z]{{3}}) (?P<day>\d\d) (?P<year>\d{{4}}) {_GMT_TIME}(?: \([^()]*\))?",
        # Java's Date.toString(), of a machine in UTC.
        rf"{_WEEKDAY_PATTERN}(?P<month>[a-z]{{3}}) (?P<day>\d\d?) {_TIME_PATTERN} {_OFFSET_PATTERN} (?P<year>\d{{4}})",
    )
)
# What PHP makes of MySQL's 0000-00-00, and the ends of Java's and JavaScript's calendars.
_YEAR_OUT_OF_RANGE = re.compile(r"(?:0000|-\d{4,10}|\+\d*[1-9]\d{4,10})-\d\d-\d\d(?![^t ])", re.ASCII | re.IGNORECASE)
_NUMBER_PATTERN = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
# .NET of old: milliseconds; the offset only says what the clock on the wall showed.
_DOTNET_DATE_PATTERN = re.compile(r"/date\((-?\d{1,17})(?:[+-]\d{4})?\)/", re.ASCII | re.IGNORECASE)
# Of more parts or other letters no place has its name, and zoneinfo looks for each part in turn.
_ZONE_NAME_PATTERN = re.compile(r"[a-z0-9_+-]{1,40}(?:/[a-z0-9_+-]{1,40}){1,3}", re.ASCII | re.IGNORECASE)
# What Jackson makes of a LocalDateTime: year, month, day, hour, minute and, unless they are zero, second, nanosecond.
_MIN_ARRAY_LENGTH, _MAX_ARRAY_LENGTH = 5, 7


def parse_timestamp(value: Any) -> datetime:
    """Return the moment that a value of JSON means, in UTC, or NEVER. Raises ValueError."""
    if isinstance(value, datetime):
        return _to_utc(value)
    reader = _PARSERS_BY_TYPE.get(type(value))
    if reader is None:
        raise ValueError("is no date and time")
    try:
        return _to_utc(reader(value))
    except (OverflowError, InvalidOperation):
        return IMPLAUSIBLE_TIME


def _to_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _parse_text(text: str) -> datetime:
    # Digits alone count from 1970; as ISO 8601 in short they would be years and weeks.
    if not text.isdigit():
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    text = text.strip()
    if len(text) <= _MAX_NUMBER_LENGTH and _NUMBER_PATTERN.fullmatch(text):
        return _parse_number(Decimal(text))
    if milliseconds := _DOTNET_DATE_PATTERN.fullmatch(text):
        return _EPOCH + timedelta(milliseconds=int(milliseconds[1]))
    if _YEAR_OUT_OF_RANGE.match(text):
        return IMPLAUSIBLE_TIME
    for form in _TEXT_FORMATS:
        if found := form.fullmatch(text):
            return _parse_date_parts(**found.groupdict())
    raise ValueError("is no date and time that can be read; write ISO 8601 with an offset (RFC 3339)")


def _parse_date_parts(
    *, clock: str, offset: str, date: str = "", year: str = "", month: str = "", day: str = ""
) -> datetime:
    if not date:
        number = _MONTHS.get(month.lower())
        if number is None:
            raise ValueError("is no date and time: its month has another name in English")
        date = f"{year}-{number:02}-{int(day):02}"
    zone = "+00:00" if offset[0] not in "+-" else offset
    return datetime.fromisoformat(f"{date}T{clock}{zone}")


def _parse_number(number: Decimal) -> datetime:
    if not number.is_finite():
        raise ValueError("is no number")
    for unit in _UNITS_PER_SECOND:
        seconds = number / unit
        if _PLAUSIBLE_SECONDS_RANGE[0] <= seconds < _PLAUSIBLE_SECONDS_RANGE[1]:
            return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    return IMPLAUSIBLE_TIME


def _parse_array(parts: list[Any]) -> datetime:
    if not _MIN_ARRAY_LENGTH <= len(parts) <= _MAX_ARRAY_LENGTH or not all(type(part) is int for part in parts):
        raise ValueError("is no date and time")
    year, month, day, hour, minute, second, nanosecond = [*parts, 0, 0][:_MAX_ARRAY_LENGTH]
    return datetime(year, month, day, hour, minute, second, nanosecond // 1_000, tzinfo=UTC)


def _parse_object(value: dict[str, Any]) -> datetime:
    """Read what kombu makes of a datetime, and PHP of a DateTime: the time of a place, and which place."""
    if value.get("__type__") == "datetime" and isinstance(written := value.get("__value__"), str):
        return datetime.fromisoformat(written)
    date, zone = value.get("date"), value.get("timezone")
    if not isinstance(date, str) or not isinstance(zone, str):
        raise ValueError("is no date and time")  # noqa: TRY004 - its reader is told of a value, not of a bug
    if _YEAR_OUT_OF_RANGE.match(date):
        return IMPLAUSIBLE_TIME
    moment = datetime.fromisoformat(date)
    if moment.tzinfo is not None:
        raise ValueError("has two zones")
    if re.fullmatch(r"[+-]\d\d:\d\d", zone, re.ASCII):
        return datetime.fromisoformat(f"{moment.isoformat()}{zone}")
    return _apply_zone_name(moment, zone)


def _apply_zone_name(moment: datetime, zone: str) -> datetime:
    if zone.upper() in ("UTC", "Z", "GMT"):
        return moment.replace(tzinfo=UTC)
    if "/" not in zone:
        # CET, IST: several places call their time so.
        raise ValueError("names a zone that means several")
    try:
        time_zone = ZoneInfo(zone) if _ZONE_NAME_PATTERN.fullmatch(zone) else None
    except (KeyError, ValueError, OSError):
        time_zone = None
    if time_zone is None:
        raise ValueError("names a zone that is not known here")
    first, second = (moment.replace(tzinfo=time_zone, fold=fold).utcoffset() for fold in (0, 1))
    if first != second or first is None:
        raise ValueError("is an hour that this place has twice or not at all")
    return moment.replace(tzinfo=timezone(first))


_PARSERS_BY_TYPE: dict[type, Callable[[Any], datetime]] = {
    str: _parse_text,
    int: lambda number: _parse_number(Decimal(number)),
    float: lambda number: _parse_number(Decimal(repr(number))),
    list: _parse_array,
    dict: _parse_object,
}
