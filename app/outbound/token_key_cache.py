"""The keys that verify tokens, as they were last fetched: requests take them from here and do not wait.

See `docs/decisions/0029-background-key-refresh.md`.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import structlog

from app.domain.token_keys import KeySet
from app.outbound.jwks import TOTAL_TIMEOUT, FetchKeys, KeysMisconfigured, KeysUnavailable, NoUsableKey

log = structlog.get_logger()

# How long a list counts as it was fetched: a key that is taken off counts for as long.
KEYS_LIFETIME = timedelta(minutes=5)
# From this age on the first request has it fetched anew, behind its back, so that it does not grow old while in use.
BACKGROUND_REFRESH_AGE = timedelta(minutes=4)
# A token that names an unknown key, or an issuer that is away, has it fetched no more often than this.
MIN_FETCH_INTERVAL = timedelta(seconds=5)
# The look-up of a host's name knows no deadline; those who wait do.
MAX_WAIT_FOR_FETCH = TOTAL_TIMEOUT + timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _RunningRefresh:
    """An attempt under way."""

    ends_at: float
    done: threading.Event


class TokenKeyCache:
    """Answers with the keys that it has, and has one refresh at a time in a thread (under gevent: a greenlet)."""

    def __init__(self, fetch_keys: FetchKeys, *, stale_lifetime: timedelta) -> None:
        """Take what fetches the keys, and how long they go on counting after LISTED while that fails."""
        self._fetch = fetch_keys
        self._stale_lifetime = stale_lifetime
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = -math.inf
        # Of the last attempt; None after a success.
        self._failure: KeysUnavailable | None = None
        self._refresh: _RunningRefresh | None = None

    def current_keys(self) -> KeySet:
        """Return the keys. Waits only where there are none, or they are old and nobody has tried to renew them.

        Raises KeysUnavailable.
        """
        with self._lock:
            keys = self._usable_keys()
            if keys and self._age_seconds() < min(BACKGROUND_REFRESH_AGE, KEYS_LIFETIME).total_seconds():
                return keys
            if self._failure is None or not self._fetched_recently():
                self._start_refresh()
            if keys:
                return keys
        self._wait_for_refresh()
        with self._lock:
            # What has just been fetched counts, however long ago that may be called.
            return (self._usable_keys() if self._failure else self._keys) or self._raise_unavailable()

    def refreshed_keys(self, known_keys: KeySet) -> KeySet:
        """Return the keys as they are listed now, for a token that names none of the known ones; waits for them.

        They are the known ones if they were fetched just now. Raises KeysUnavailable.
        """
        with self._lock:
            if self._keys and self._keys is not known_keys:
                return self._keys
            if self._refresh is None and self._fetched_recently() and self._failure is None:
                return known_keys
            if self._refresh is not None or not self._fetched_recently():
                self._start_refresh()
        self._wait_for_refresh()
        with self._lock:
            return self._keys if self._keys and self._failure is None else self._raise_unavailable()

    def _age_seconds(self) -> float:
        return time.monotonic() - self._fetched_at

    def _usable_keys(self) -> KeySet | None:
        counts = KEYS_LIFETIME + (self._stale_lifetime if self._failure else timedelta(0))
        return self._keys if self._age_seconds() < counts.total_seconds() else None

    def _fetched_recently(self) -> bool:
        return time.monotonic() - self._tried_at < MIN_FETCH_INTERVAL.total_seconds()

    def _start_refresh(self) -> None:
        """Begin a refresh unless one runs. The caller holds the lock."""
        if self._refresh is None:
            self._refresh = _RunningRefresh(time.monotonic() + MAX_WAIT_FOR_FETCH.total_seconds(), threading.Event())
            threading.Thread(target=self._run_refresh, args=(self._refresh,), name="token-keys", daemon=True).start()

    def _wait_for_refresh(self) -> None:
        refresh = self._refresh
        if refresh is not None and not refresh.done.wait(max(0, refresh.ends_at - time.monotonic())):
            with self._lock:
                if self._refresh is refresh:
                    self._failure = KeysUnavailable("does not answer in time")

    def _raise_unavailable(self) -> NoReturn:
        kind = KeysMisconfigured if isinstance(self._failure, KeysMisconfigured) else KeysUnavailable
        raise kind(str(self._failure))

    def _run_refresh(self, refresh: _RunningRefresh) -> None:
        keys: KeySet | None = None
        failure: KeysUnavailable | None = KeysUnavailable("the attempt broke off")
        try:
            keys, failure = self._fetch(), None
        except KeysUnavailable as problem:
            failure = problem
        finally:
            with self._lock:
                self._tried_at = time.monotonic()
                recovered = failure is None and self._failure is not None
                self._failure, self._refresh = failure, None
                if keys is not None:
                    self._keys, self._fetched_at = keys, self._tried_at
                elif isinstance(failure, NoUsableKey):
                    self._keys = None
            refresh.done.set()
            self._log_refresh_result(failure, recovered=recovered)

    def _log_refresh_result(self, failure: KeysUnavailable | None, *, recovered: bool) -> None:
        if isinstance(failure, KeysMisconfigured):
            log.error("token_keys_misconfigured", reason=f"JWT_JWKS_URL {failure}", kept=self._keys is not None)
        elif failure is not None:
            log.warning("token_keys_away", reason=f"JWT_JWKS_URL {failure}", kept=self._keys is not None)
        elif recovered:
            log.info("token_keys_back")
