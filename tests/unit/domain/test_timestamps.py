"""Moments as the programs of ten languages write them; docs/integration.md has the same table for people."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import timestamps
from app.domain.status_messages import EARLIEST_TIMESTAMP, MAX_CLOCK_AHEAD

# In Berlin it is 08:00.
SEVEN = datetime(2026, 11, 30, 7, tzinfo=UTC)
MILLIS = SEVEN.replace(microsecond=123_000)
MICROS = SEVEN.replace(microsecond=123_456)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        # ISO 8601, as most write it: JavaScript, Java's Instant and OffsetDateTime, Go's RFC3339Nano, PHP's DATE_ATOM,
        # Python, .NET's "o", Rails, PostgreSQL.
        ("2026-11-30T07:00:00.123Z", MILLIS),
        ("2026-11-30T07:00:00.123456789Z", MICROS),
        ("2026-11-30T08:00:00.123456789+01:00", MICROS),
        ("2026-11-30T08:00+01:00", SEVEN),
        ("2026-11-30T08:00:00+01:00", SEVEN),
        ("2026-11-30T08:00:00+0100", SEVEN),
        ("2026-11-30T08:00:00+01", SEVEN),
        ("2026-11-30T08:00:00.1234567+01:00", MICROS),
        ("2026-11-30 08:00:00+01:00", SEVEN),
        ("2026-11-30 08:00:00.123+01", MILLIS),
        ("2026-11-30t07:00:00z", SEVEN),
        ("20261130T070000Z", SEVEN),
        # Without a zone: taken for UTC.
        ("2026-11-30T07:00:00.123456", MICROS),
        ("2026-11-30 07:00:00", SEVEN),
        # Ruby's Time#to_json and Time#to_s, of a machine in UTC, too.
        ("2026-11-30 08:00:00 +0100", SEVEN),
        ("2026-11-30 07:00:00 UTC", SEVEN),
        ("2026-11-30 08:00:00.123456789 +0100", MICROS),
        # Rust's chrono.
        ("2026-11-30 07:00:00.123456789 UTC", MICROS),
        ("2026-11-30 08:00:00.123456789 +01:00", MICROS),
        # Java's ZonedDateTime.
        ("2026-11-30T08:00:00.123456+01:00[Europe/Berlin]", MICROS),
        ("2026-11-30T08:00+01:00[Europe/Berlin]", SEVEN),
        ("2026-11-30T07:00:00Z[UTC]", SEVEN),
        ("2026-11-30T07:00Z[Etc/UTC]", SEVEN),
        # Go's Time.String(), with and without the process's own clock.
        ("2026-11-30 08:00:00.123456789 +0100 CET m=+0.000012345", MICROS),
        ("2026-11-30 08:00:00 +0100 CET", SEVEN),
        ("2026-11-30 07:00:00 +0000 UTC", SEVEN),
        ("2026-11-30 02:00:00.5 -0500 -0500 m=-3.1", SEVEN.replace(microsecond=500_000)),
        # RFC 2822 and HTTP: PHP's DATE_RFC2822, Python's email, JavaScript's toUTCString().
        ("Mon, 30 Nov 2026 08:00:00 +0100", SEVEN),
        ("Mon, 30 Nov 2026 07:00:00 GMT", SEVEN),
        ("30 Nov 2026 07:00 +0000", SEVEN),
        # JavaScript's toString(), in any language of the browser.
        ("Mon Nov 30 2026 08:00:00 GMT+0100 (Central European Standard Time)", SEVEN),
        ("Mon Nov 30 2026 08:00:00 GMT+0100 (Mitteleuropäische Normalzeit)", SEVEN),
        ("Mon Nov 30 2026 08:00:00 GMT+0100", SEVEN),
        # Java's Date.toString() in UTC.
        ("Mon Nov 30 07:00:00 UTC 2026", SEVEN),
        # .NET of old.
        ("/Date(1796022000123)/", MILLIS),
        ("/Date(1796022000123+0100)/", MILLIS),
        # Since 1970, in whatever unit; PHP's time(), Python's time.time(), Java's Date with Jackson, Go's UnixNano().
        (1796022000, SEVEN),
        ("1796022000", SEVEN),
        (1796022000.123456, MICROS),
        ("1796022000.123456789", MICROS),
        (1796022000123, MILLIS),
        ("1796022000123", MILLIS),
        (1796022000123456, MICROS),
        (1796022000123456789, MICROS),
        # Jackson's LocalDateTime.
        ([2026, 11, 30, 7, 0], SEVEN),
        ([2026, 11, 30, 7, 0, 0, 123_456_789], MICROS),
        # PHP's json_encode(new DateTime()), with each of its three kinds of zone.
        ({"date": "2026-11-30 08:00:00.123456", "timezone_type": 3, "timezone": "Europe/Berlin"}, MICROS),
        ({"date": "2026-11-30 08:00:00.000000", "timezone_type": 1, "timezone": "+01:00"}, SEVEN),
        ({"date": "2026-11-30 07:00:00.000000", "timezone_type": 3, "timezone": "UTC"}, SEVEN),
        # kombu's, and so Celery's, of a datetime.
        ({"__type__": "datetime", "__value__": "2026-11-30T07:00:00.123456+00:00"}, MICROS),
        (" 2026-11-30T07:00:00Z\n", SEVEN),
    ],
    ids=str,
)
def test_a_moment_is_read_as_its_language_writes_it(written: Any, moment: datetime) -> None:
    read = timestamps.parse_timestamp(written)

    assert read == moment
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written",
    [
        "", "yesterday", "now", "07:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
        # Day or month first?
        "01/02/2026 07:00:00", "30.11.2026 07:00", "11/30/2026 7:00:00 AM",
        # Several zones are called so, and a clock on a wall is in none.
        "Mon Nov 30 08:00:00 CET 2026", "2026-11-30 08:00:00 CET", "Monday, 30-Nov-2026 08:00:00 CET",
        "Mon Nov 30 08:00:00 2026",
        # Two offsets, or a place without one.
        "2026-11-30T08:00[Europe/Berlin]", "2026-11-30 08:00:00 +0100 +0200 CET",
        # Another language's month.
        "Mo, 30 Dez 2026 08:00:00 +0100",
        float("inf"), float("nan"), "9" * 400, "+002026-11-30T07:00:00Z",
        True, None, [], [2026], [2026, 334, 8, 0, 0, 0, 1, 0, 0], [2026, 11, 30, 7.5, 0], [2026, 13, 30, 7, 0], {},
        {"date": "2026-11-30 08:00:00"}, {"date": 1, "timezone": "UTC"},
        {"__type__": "datetime", "__value__": 7}, {"__type__": "uuid", "__value__": "2026-11-30T07:00:00Z"},
        {"date": "2026-11-30 08:00:00", "timezone": "CET"}, {"date": "2026-11-30 08:00:00", "timezone": "No/Where"},
        {"date": "2026-11-30 08:00:00", "timezone": "../../etc/passwd"},
        {"date": "2026-11-30 08:00:00Z", "timezone": "+01:00"},
        # The hour that Berlin has twice, and the one that it does not have.
        {"date": "2026-10-25 02:30:00", "timezone": "Europe/Berlin"},
        {"date": "2026-03-29 02:30:00", "timezone": "Europe/Berlin"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_could_mean_several_moments_or_none_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|names|month|Invalid|.*out of range|.*must be)"):
        timestamps.parse_timestamp(written)


@pytest.mark.parametrize(
    "written",
    [
        # Go's zero time, in each of its forms; .NET's MinValue and MaxValue, east and west of Greenwich, too.
        "0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC", -62_135_596_800, "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-01:00",
        "/Date(-62135596800000)/", "/Date(99999999999999999)/",
        # PHP's and MySQL's.
        "0000-00-00 00:00:00", "0000-00-00", "-0001-11-30T00:00:00+00:00",
        {"date": "-0001-11-30 00:00:00.000000", "timezone_type": 3, "timezone": "UTC"},
        # The ends of Java's and JavaScript's calendars.
        "-1000000000-01-01T00:00Z", "+1000000000-12-31T23:59:59.999999999Z", "+275760-09-13T00:00:00.000Z",
        # Neither seconds nor any of their parts since 1970, of this century; Swift's are since 2001.
        0, 0.0, "0", 1, -1, 946_684_799, 817_714_800.5, 20_000_000_000, 10**30, 1e300, "1e99", "2026", "20261130",
        [1, 1, 1, 0, 0], [10**30, 1, 1, 1, 1], {"__type__": "datetime", "__value__": "0001-01-01T00:00:00"},
    ],
    ids=repr,
)  # fmt: skip
def test_a_clock_that_was_never_set_or_cannot_be_is_a_moment_of_no_century(written: Any) -> None:
    assert not EARLIEST_TIMESTAMP <= timestamps.parse_timestamp(written) <= SEVEN + MAX_CLOCK_AHEAD


Writer = Callable[[datetime], Any]


def _java(moment: datetime) -> str:
    return f"{moment.isoformat()}[Somewhere/Else]"


def _go(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}789 {moment:%z} {moment:%z} m=+12.5"


def _ruby(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f %z}"


def _javascript(moment: datetime) -> str:
    return f"{moment:%a %b %d %Y %H:%M:%S} GMT{moment:%z} (Somewhere)"


def _nanoseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000 + 999


TO_THE_MICROSECOND: dict[str, Writer] = {
    "ISO 8601": datetime.isoformat, "Java": _java, "Go": _go, "Ruby": _ruby, "nanoseconds": _nanoseconds,
}  # fmt: skip
TO_THE_SECOND: dict[str, Writer] = {"RFC 2822": format_datetime, "JavaScript": _javascript}
ANY_MOMENT = st.datetimes(
    min_value=datetime(2001, 1, 2),  # noqa: DTZ001 - the zones come next
    max_value=datetime(2099, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(moment=ANY_MOMENT, writer=st.sampled_from(sorted(TO_THE_MICROSECOND)))
def test_whatever_is_written_to_the_microsecond_is_read_to_it(moment: datetime, writer: str) -> None:
    assert timestamps.parse_timestamp(TO_THE_MICROSECOND[writer](moment)) == moment


@given(moment=ANY_MOMENT, writer=st.sampled_from(sorted(TO_THE_SECOND)))
def test_whatever_is_written_to_the_second_is_read_to_it(moment: datetime, writer: str) -> None:
    assert timestamps.parse_timestamp(TO_THE_SECOND[writer](moment)) == moment.replace(microsecond=0)


@given(
    st.text() | st.from_regex(r"[0-9TZ:+.\[\] a-zA-Z-]{0,40}") | st.integers() | st.floats() | st.lists(st.integers())
)
def test_whatever_comes_is_a_moment_in_utc_or_refused(written: Any) -> None:
    with suppress(ValueError):
        assert timestamps.parse_timestamp(written).utcoffset() == timedelta(0)
