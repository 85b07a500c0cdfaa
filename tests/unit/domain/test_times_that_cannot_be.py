"""A clock that was never set, or is years ahead: its reports are refused, and nothing is muted by them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.domain.status_messages import (
    EARLIEST_TIMESTAMP,
    MAX_CLOCK_AHEAD,
    REFUSAL_REASONS,
    has_plausible_timestamp,
    implausible_timestamp_refusal,
)
from tests.factories import NOON, a_case, a_connection, a_report, a_sync_message, a_verification_message
from tests.unit.domain.syncing import SECOND, apply


@pytest.mark.parametrize(
    "timestamp",
    [
        "0001-01-01T00:00:00Z",
        0,
        "1999-12-31T23:59:59Z",
        "2099-01-01T00:00:00Z",
        (NOON + MAX_CLOCK_AHEAD + SECOND).isoformat(),
    ],
)
def test_a_time_that_no_clock_can_tell_is_refused_with_its_reason(timestamp: Any) -> None:
    report = a_report(a_sync_message(a_connection(), timestamp=timestamp))

    assert not has_plausible_timestamp(report, now=NOON)
    assert implausible_timestamp_refusal().reason in REFUSAL_REASONS


@pytest.mark.parametrize(
    "timestamp",
    [EARLIEST_TIMESTAMP.isoformat(), (NOON + MAX_CLOCK_AHEAD).isoformat(), 1_795_341_600, 1_795_341_600_000, None],
)
def test_any_other_time_is_taken(timestamp: Any) -> None:
    message = a_sync_message(a_connection(), timestamp=timestamp)

    assert has_plausible_timestamp(a_report(message), now=NOON)


def test_a_verification_has_no_time_to_be_refused_for() -> None:
    assert has_plausible_timestamp(a_report(a_verification_message(a_connection())), now=NOON)


def test_a_connection_that_an_earlier_release_took_to_2099_listens_again() -> None:
    connection = a_connection(
        sync_reported_at=NOON + timedelta(days=27_000), sync_reported_rank=1, last_sync_status="completed"
    )
    case = a_case(connection)

    applied = apply(case, a_sync_message(connection, "sync_failed", timestamp=NOON, error_message="disk full"))

    assert applied
    assert (connection.last_sync_status, connection.last_sync_error) == ("failed", "disk full")
    assert connection.sync_reported_at == NOON
