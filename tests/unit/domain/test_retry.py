"""What an answer means and how long to wait: the tables row by row, written down a second time."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from app.domain import retry
from app.domain.retry import (
    SYNC_RETRY_SCHEDULE,
    VERIFICATION_RETRY_SCHEDULE,
    AttemptFailure,
    RetryVerdict,
    delay_after_attempt,
    outcome_of_failure,
    outcome_of_status_code,
)

SECOND = timedelta(seconds=1)

FINAL_FAILURES = {AttemptFailure.TLS, AttemptFailure.CREDENTIALS_GONE, AttemptFailure.CREDENTIALS_REFUSED}
FINAL_STATUSES = {400, 401, 403, 404, 410, 413, 422}
RETRIED_STATUSES = {408, 425, 429}


@pytest.mark.parametrize("failure", AttemptFailure)
def test_every_failure_has_a_verdict_and_words_of_its_own(failure: AttemptFailure) -> None:
    outcome = outcome_of_failure(failure, duration=SECOND)

    assert outcome.verdict is (RetryVerdict.FINAL if failure in FINAL_FAILURES else RetryVerdict.RETRY)
    assert outcome.error
    assert outcome.status_code is None
    assert outcome.duration == SECOND


@pytest.mark.parametrize("failure", AttemptFailure)
def test_only_what_any_request_would_have_met_says_that_the_receiver_is_down(failure: AttemptFailure) -> None:
    of_this_request = FINAL_FAILURES | {AttemptFailure.CREDENTIALS_UNREACHABLE}

    assert outcome_of_failure(failure).service_down is (failure not in of_this_request)


@pytest.mark.parametrize(
    ("status", "down"), [(200, False), (302, False), (401, False), (404, False), (429, False), (500, True), (503, True)]
)
def test_of_the_answers_only_5xx_say_that_the_receiver_is_down(status: int, down: bool) -> None:  # noqa: FBT001
    assert outcome_of_status_code(status, duration=SECOND).service_down is down


def test_no_two_failures_are_told_in_the_same_words() -> None:
    assert len({words for _, words in retry.VERDICT_AND_TEXT_BY_FAILURE.values()}) == len(AttemptFailure)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_2xx_is_done_and_has_no_error(status: int) -> None:
    outcome = outcome_of_status_code(status, retry_after=SECOND, duration=SECOND)

    assert outcome.verdict is RetryVerdict.DONE
    assert (outcome.status_code, outcome.error, outcome.retry_after) == (status, None, None)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[(status, RetryVerdict.FINAL) for status in sorted(FINAL_STATUSES)],
        *[(status, RetryVerdict.RETRY) for status in sorted(RETRIED_STATUSES)],
        *[(status, RetryVerdict.FINAL) for status in (300, 301, 302, 303, 304, 307, 308, 399)],
        *[(status, RetryVerdict.FINAL) for status in (402, 405, 406, 409, 411, 418, 451, 499)],
        *[(status, RetryVerdict.RETRY) for status in (500, 501, 502, 503, 504, 507, 599)],
        *[(status, RetryVerdict.RETRY) for status in (101, 103, 600, 999)],
    ],
)
def test_every_other_status_has_a_verdict_and_is_named_in_its_error(status: int, verdict: RetryVerdict) -> None:
    outcome = outcome_of_status_code(status, retry_after=SECOND, duration=SECOND)

    assert outcome.verdict is verdict
    assert outcome.error is not None
    assert outcome.error.endswith(f"(HTTP {status})")
    assert outcome.retry_after == SECOND


def test_the_statuses_with_a_row_of_their_own_are_these() -> None:
    assert set(retry.VERDICT_AND_TEXT_BY_STATUS_CODE) == FINAL_STATUSES | RETRIED_STATUSES


@pytest.mark.parametrize("waits", [VERIFICATION_RETRY_SCHEDULE, SYNC_RETRY_SCHEDULE])
def test_each_attempt_waits_its_turn_and_the_last_gives_up(waits: tuple[timedelta, ...]) -> None:
    pauses = [
        delay_after_attempt(attempt, retry_schedule=waits, jitter_fraction=0) for attempt in range(1, len(waits) + 2)
    ]

    assert pauses == [*waits, None]


@pytest.mark.parametrize("waits", [VERIFICATION_RETRY_SCHEDULE, SYNC_RETRY_SCHEDULE])
def test_waits_grow(waits: tuple[timedelta, ...]) -> None:
    assert all(earlier < later for earlier, later in pairwise(waits))


@pytest.mark.parametrize("luck", [0, 0.01, 0.5, 1])
def test_jitter_only_ever_makes_it_later_and_never_by_much(luck: float) -> None:
    pause = delay_after_attempt(1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=luck)

    assert pause is not None
    assert SYNC_RETRY_SCHEDULE[0] <= pause <= SYNC_RETRY_SCHEDULE[0] * 1.1


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert delay_after_attempt(1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=0.2) != delay_after_attempt(
        1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=0.8
    )


def test_a_receiver_that_asks_for_a_longer_pause_gets_it() -> None:
    assert (
        delay_after_attempt(1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=1, retry_after=60 * SECOND)
        == 60 * SECOND
    )


@pytest.mark.parametrize("asked", [timedelta(0), SECOND])
def test_a_receiver_cannot_shorten_the_pause(asked: timedelta) -> None:
    assert (
        delay_after_attempt(1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=0, retry_after=asked)
        == SYNC_RETRY_SCHEDULE[0]
    )


@pytest.mark.parametrize("waits", [VERIFICATION_RETRY_SCHEDULE, SYNC_RETRY_SCHEDULE])
def test_a_receiver_cannot_lengthen_the_pause_beyond_the_longest(waits: tuple[timedelta, ...]) -> None:
    assert delay_after_attempt(1, retry_schedule=waits, jitter_fraction=0, retry_after=timedelta(days=365)) == max(
        waits
    )


def test_a_receiver_that_asks_for_patience_does_not_get_more_attempts() -> None:
    assert (
        delay_after_attempt(
            len(SYNC_RETRY_SCHEDULE) + 1, retry_schedule=SYNC_RETRY_SCHEDULE, jitter_fraction=0, retry_after=SECOND
        )
        is None
    )


def test_whoever_waits_for_a_verification_is_told_within_a_minute() -> None:
    assert sum(VERIFICATION_RETRY_SCHEDULE, timedelta(0)) * (1 + retry.MAX_JITTER) < timedelta(minutes=1)
    assert len(VERIFICATION_RETRY_SCHEDULE) == 3


def test_a_sync_sits_out_a_deployment_of_about_a_quarter_of_an_hour() -> None:
    assert timedelta(minutes=14) < sum(SYNC_RETRY_SCHEDULE, timedelta(0)) < timedelta(minutes=17)
