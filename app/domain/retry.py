"""What the answer to a webhook means: done, try again, or never; and how long to wait in between. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

# Someone is waiting at the screen: three more tries within a minute, then tell them.
VERIFY_WAITS = (timedelta(seconds=2), timedelta(seconds=6), timedelta(seconds=15))
# Long enough to sit out a deployment of the external service: about 15 minutes in all.
SYNC_WAITS = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=4),
    timedelta(minutes=8),
)
# A batch of status messages that could not be applied: the database is mostly back within seconds, or for long away.
STATUS_WAITS = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 16, 30))
# Jitter only ever adds: a receiver that asked for a pause gets at least that pause.
JITTER = 0.1


class Verdict(StrEnum):
    """What to do after an attempt."""

    DONE = "done"
    RETRY = "retry"
    FINAL = "final"


class Failure(StrEnum):
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
FAILURES: dict[Failure, tuple[Verdict, str]] = {
    Failure.DNS: (Verdict.RETRY, "The external service's host name could not be resolved"),
    Failure.REFUSED: (Verdict.RETRY, "The external service could not be reached"),
    # A certificate does not fix itself within minutes; trying again would only hide it.
    Failure.TLS: (Verdict.FINAL, "The external service's TLS certificate could not be verified"),
    Failure.CONNECT_TIMEOUT: (Verdict.RETRY, "The external service did not accept the connection in time"),
    Failure.READ_TIMEOUT: (Verdict.RETRY, "The external service did not answer in time"),
    Failure.TOTAL_TIMEOUT: (Verdict.RETRY, "The external service did not finish its answer in time"),
    Failure.DISCONNECTED: (Verdict.RETRY, "The external service closed the connection without an answer"),
    Failure.RESPONSE_INVALID: (Verdict.RETRY, "The external service's answer is not HTTP"),
    # The seal has expired or Redis was emptied: only the person can give the credentials again.
    Failure.CREDENTIALS_GONE: (Verdict.FINAL, "The credentials are no longer held; enter them again"),
    # Somebody has written into Redis, or a key that encrypted them was taken away too soon.
    Failure.CREDENTIALS_REFUSED: (
        Verdict.FINAL,
        "What was held is not what was entered for this connection, so it was not sent; tell whoever runs this service",
    ),
    Failure.CREDENTIALS_UNREACHABLE: (Verdict.RETRY, "The sealed credentials could not be read"),
}

# What the giving up says of who must act: a name of `domain/endings.py`. What is not here is the service's being away.
_ENDINGS = {
    Failure.TLS: "request_refused",
    Failure.CREDENTIALS_GONE: "credentials_lost",
    Failure.CREDENTIALS_REFUSED: "credentials_unreadable",
    Failure.CREDENTIALS_UNREACHABLE: "credentials_unreadable",
}
SERVICE_DOWN = "service_down"

# The failures that any request would have met.
SAY_DOWN = frozenset(Failure) - {
    Failure.TLS, Failure.CREDENTIALS_GONE, Failure.CREDENTIALS_REFUSED, Failure.CREDENTIALS_UNREACHABLE,
}  # fmt: skip

# The answers that deserve a row of their own; all others are judged by their hundred.
STATUSES: dict[int, tuple[Verdict, str]] = {
    400: (Verdict.FINAL, "The external service does not understand the request"),
    401: (Verdict.FINAL, "The external service does not accept our authorization"),
    403: (Verdict.FINAL, "The external service refuses our authorization"),
    404: (Verdict.FINAL, "The external service's webhook address does not exist"),
    408: (Verdict.RETRY, "The external service waited too long for the request"),
    410: (Verdict.FINAL, "The external service's webhook address is gone"),
    413: (Verdict.FINAL, "The request is too large for the external service"),
    422: (Verdict.FINAL, "The external service rejects the request's content"),
    425: (Verdict.RETRY, "The external service is not ready for the request"),
    429: (Verdict.RETRY, "The external service is receiving too many requests"),
}
HUNDREDS: dict[int, tuple[Verdict, str]] = {
    2: (Verdict.DONE, ""),
    # A redirect is never followed: it could carry the credentials anywhere.
    3: (Verdict.FINAL, "The external service redirects, which is not followed"),
    4: (Verdict.FINAL, "The external service refuses the request"),
    5: (Verdict.RETRY, "The external service has an error"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt ended in. `error` is for people, `retry_after` what the receiver asked for."""

    verdict: Verdict
    status_code: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    duration: timedelta = timedelta(0)
    # Whether it speaks of the receiver as such rather than of this one request.
    receiver_down: bool = False
    # How the operation has ended if there is no further attempt: a name of `domain/endings.py`.
    ending: str = SERVICE_DOWN


def from_failure(failure: Failure, *, duration: timedelta = timedelta(0)) -> Outcome:
    """Judge an attempt that brought no answer."""
    verdict, words = FAILURES[failure]
    ending = _ENDINGS.get(failure, SERVICE_DOWN)
    return Outcome(verdict, error=words, duration=duration, receiver_down=failure in SAY_DOWN, ending=ending)


def from_status(status_code: int, *, retry_after: timedelta | None = None, duration: timedelta) -> Outcome:
    """Judge an HTTP answer by its status code alone; the body means nothing."""
    verdict, words = STATUSES.get(status_code) or HUNDREDS.get(status_code // 100, HUNDREDS[5])
    if verdict is Verdict.DONE:
        return Outcome(verdict, status_code=status_code, duration=duration)
    return Outcome(
        verdict,
        status_code=status_code,
        error=f"{words} (HTTP {status_code})",
        retry_after=retry_after,
        duration=duration,
        receiver_down=status_code // 100 not in (1, 2, 3, 4),
        ending="request_refused" if verdict is Verdict.FINAL else SERVICE_DOWN,
    )


def wait_after(
    attempt: int, *, waits: Sequence[timedelta], luck: float, retry_after: timedelta | None = None
) -> timedelta | None:
    """Return the pause after the given attempt (counted from 1), or None to give up.

    `luck` in 0..1 spreads attempts that failed together; `retry_after` can lengthen the pause, but not beyond the
    longest of `waits`.
    """
    if attempt > len(waits):
        return None
    pause = waits[attempt - 1] * (1 + JITTER * luck)
    if retry_after is None:
        return pause
    return max(pause, min(retry_after, max(waits)))
