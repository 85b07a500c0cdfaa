"""What the answer to a webhook means: done, try again, or never; and how long to wait in between. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

# Someone is waiting at the screen: three more tries within a minute, then tell them.
VERIFICATION_RETRY_SCHEDULE = (timedelta(seconds=2), timedelta(seconds=6), timedelta(seconds=15))
# Long enough to sit out a deployment of the external service: about 15 minutes in all.
SYNC_RETRY_SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 240, 480))
# A batch of status messages that could not be applied: the database is mostly back within seconds, or for long away.
STATUS_BATCH_RETRY_SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 16, 30))
# Jitter only ever adds: a receiver that asked for a pause gets at least that pause.
MAX_JITTER = 0.1


class RetryVerdict(StrEnum):
    """What to do after an attempt."""

    DONE = "done"
    RETRY = "retry"
    FINAL = "final"


class AttemptFailure(StrEnum):
    """Why an attempt brought no HTTP answer."""

    DNS = "dns"
    REFUSED = "refused"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    DISCONNECTED = "disconnected"
    RESPONSE_INVALID = "response_invalid"
    CREDENTIALS_GONE = "credentials_gone"
    CREDENTIALS_REFUSED = "credentials_refused"
    CREDENTIALS_UNREACHABLE = "credentials_unreachable"


# One row for each way an attempt ends without an answer: the verdict, and the words for the person who waits.
VERDICT_AND_TEXT_BY_FAILURE: dict[AttemptFailure, tuple[RetryVerdict, str]] = {
    AttemptFailure.DNS: (RetryVerdict.RETRY, "The external service's host name could not be resolved"),
    AttemptFailure.REFUSED: (RetryVerdict.RETRY, "The external service could not be reached"),
    # A certificate does not fix itself within minutes; trying again would only hide it.
    AttemptFailure.TLS: (RetryVerdict.FINAL, "The external service's TLS certificate could not be verified"),
    AttemptFailure.CONNECT_TIMEOUT: (RetryVerdict.RETRY, "The external service did not accept the connection in time"),
    AttemptFailure.READ_TIMEOUT: (RetryVerdict.RETRY, "The external service did not answer in time"),
    AttemptFailure.TOTAL_TIMEOUT: (RetryVerdict.RETRY, "The external service did not finish its answer in time"),
    AttemptFailure.DISCONNECTED: (RetryVerdict.RETRY, "The external service closed the connection without an answer"),
    AttemptFailure.RESPONSE_INVALID: (RetryVerdict.RETRY, "The external service's answer is not HTTP"),
    # The seal has expired or Redis was emptied: only the person can give the credentials again.
    AttemptFailure.CREDENTIALS_GONE: (RetryVerdict.FINAL, "The credentials are no longer held; enter them again"),
    # Somebody has written into Redis, or a key that encrypted them was taken away too soon.
    AttemptFailure.CREDENTIALS_REFUSED: (
        RetryVerdict.FINAL,
        "What was held is not what was entered for this connection, so it was not sent; tell whoever runs this service",
    ),
    AttemptFailure.CREDENTIALS_UNREACHABLE: (RetryVerdict.RETRY, "The sealed credentials could not be read"),
}

# What the giving up says of who must act: a name of `domain/endings.py`. What is not here is the service's being away.
_ENDING_BY_FAILURE = {
    AttemptFailure.TLS: "request_refused",
    AttemptFailure.CREDENTIALS_GONE: "credentials_lost",
    AttemptFailure.CREDENTIALS_REFUSED: "credentials_unreadable",
    AttemptFailure.CREDENTIALS_UNREACHABLE: "credentials_unreadable",
}
SERVICE_DOWN_ENDING = "service_down"

# The failures that any request would have met.
SERVICE_DOWN_FAILURES = frozenset(AttemptFailure) - {
    AttemptFailure.TLS, AttemptFailure.CREDENTIALS_GONE, AttemptFailure.CREDENTIALS_REFUSED,
    AttemptFailure.CREDENTIALS_UNREACHABLE,
}  # fmt: skip

# The answers that deserve a row of their own; all others are judged by their hundred.
VERDICT_AND_TEXT_BY_STATUS_CODE: dict[int, tuple[RetryVerdict, str]] = {
    400: (RetryVerdict.FINAL, "The external service does not understand the request"),
    401: (RetryVerdict.FINAL, "The external service does not accept our authorization"),
    403: (RetryVerdict.FINAL, "The external service refuses our authorization"),
    404: (RetryVerdict.FINAL, "The external service's webhook address does not exist"),
    408: (RetryVerdict.RETRY, "The external service waited too long for the request"),
    410: (RetryVerdict.FINAL, "The external service's webhook address is gone"),
    413: (RetryVerdict.FINAL, "The request is too large for the external service"),
    422: (RetryVerdict.FINAL, "The external service rejects the request's content"),
    425: (RetryVerdict.RETRY, "The external service is not ready for the request"),
    429: (RetryVerdict.RETRY, "The external service is receiving too many requests"),
}
VERDICT_AND_TEXT_BY_STATUS_CLASS: dict[int, tuple[RetryVerdict, str]] = {
    2: (RetryVerdict.DONE, ""),
    # A redirect is never followed: it could carry the credentials anywhere.
    3: (RetryVerdict.FINAL, "The external service redirects, which is not followed"),
    4: (RetryVerdict.FINAL, "The external service refuses the request"),
    5: (RetryVerdict.RETRY, "The external service has an error"),
}


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What one attempt ended in. `error` is for people, `retry_after` what the receiver asked for."""

    verdict: RetryVerdict
    status_code: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    duration: timedelta = timedelta(0)
    # Whether it speaks of the receiver as such rather than of this one request.
    service_down: bool = False
    # How the operation has ended if there is no further attempt: a name of `domain/endings.py`.
    ending: str = SERVICE_DOWN_ENDING


def outcome_of_failure(failure: AttemptFailure, *, duration: timedelta = timedelta(0)) -> AttemptOutcome:
    """Judge an attempt that brought no answer."""
    verdict, error = VERDICT_AND_TEXT_BY_FAILURE[failure]
    is_down, ending = failure in SERVICE_DOWN_FAILURES, _ENDING_BY_FAILURE.get(failure, SERVICE_DOWN_ENDING)
    return AttemptOutcome(verdict, error=error, duration=duration, service_down=is_down, ending=ending)


def outcome_of_status_code(code: int, *, retry_after: timedelta | None = None, duration: timedelta) -> AttemptOutcome:
    """Judge an HTTP answer by its status code alone; the body means nothing."""
    of_class = VERDICT_AND_TEXT_BY_STATUS_CLASS.get(code // 100, VERDICT_AND_TEXT_BY_STATUS_CLASS[5])
    verdict, words = VERDICT_AND_TEXT_BY_STATUS_CODE.get(code, of_class)
    if verdict is RetryVerdict.DONE:
        return AttemptOutcome(verdict, code, duration=duration)
    is_down = code // 100 not in (1, 2, 3, 4)
    ending = "request_refused" if verdict is RetryVerdict.FINAL else SERVICE_DOWN_ENDING
    return AttemptOutcome(verdict, code, f"{words} (HTTP {code})", retry_after, duration, is_down, ending)


def delay_after_attempt(
    attempt: int, *, retry_schedule: Sequence[timedelta], jitter_fraction: float, retry_after: timedelta | None = None
) -> timedelta | None:
    """Return the pause after the given attempt (counted from 1), or None to give up.

    `jitter_fraction` in 0..1 spreads attempts that failed together; `retry_after` can lengthen the pause, but not
    beyond the longest of `retry_schedule`.
    """
    if attempt > len(retry_schedule):
        return None
    pause = retry_schedule[attempt - 1] * (1 + MAX_JITTER * jitter_fraction)
    if retry_after is None:
        return pause
    return max(pause, min(retry_after, max(retry_schedule)))
