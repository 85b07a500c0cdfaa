"""One look at the key set that tokens are verified with, bounded in time and size; an outage is told from a mistake."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, IncompleteRead
from urllib.parse import urlsplit

from app.domain import token_keys
from app.domain.token_keys import KeySet
from app.outbound import trust
from app.outbound.deadline import Deadline
from app.outbound.interim import FinalResponse

# People who sign in wait for it at the start; afterwards nobody does.
WHOLE = timedelta(seconds=5)
# A key takes half a kilobyte, or three with its certificates; the largest issuers list ten.
LARGEST = 256 * 1024
# Answers that pass by themselves; any other one but 200 comes from a wrong address.
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

Fetch = Callable[[], KeySet]


class KeysUnavailable(Exception):
    """The keys cannot be had now; says why."""


class KeysMisconfigured(KeysUnavailable):
    """What is there will not become a key set by waiting: the address, or the issuer, has to be corrected."""


class NoKeyListed(KeysMisconfigured):
    """It is a key set, and none of its keys verifies anything: what it listed before does not count either."""


class _Connection(HTTPConnection):
    response_class = FinalResponse


def fetch(url: str) -> KeySet:
    """Return the keys that are listed at a URL, without following redirects. Raises KeysUnavailable or a kind of it."""
    deadline = Deadline(WHOLE)
    try:
        with deadline.running():
            status, content = _get(url, deadline)
    except ssl.SSLCertVerificationError as problem:
        raise KeysMisconfigured(f"its certificate is not trusted here: {problem.verify_message}") from None
    except (OSError, HTTPException, ValueError) as problem:
        # A read of the handshake has the same time as the whole.
        too_slow = deadline.passed or isinstance(problem, TimeoutError)
        raise KeysUnavailable(_too_slow() if too_slow else f"does not answer: {type(problem).__name__}") from None
    if deadline.passed:
        raise KeysUnavailable(_too_slow())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
        raise KeysUnavailable(f"answers {status}")
    if status != HTTPStatus.OK:
        raise KeysMisconfigured(f"answers {status}; the address must be the key set's own")
    return _read(content)


def _too_slow() -> str:
    return f"does not answer within {WHOLE.total_seconds():g} s"


def _get(url: str, deadline: Deadline) -> tuple[int, bytes]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    # Our own socket, for the deadline counts from before the handshake; no proxy of the environment's is asked.
    with socket.create_connection((host, port), timeout=WHOLE.total_seconds()) as opened:
        deadline.watch(opened)
        connection = _Connection(host, port)
        connection.sock = trust.context().wrap_socket(opened, server_hostname=host) if secure else opened
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "Accept": "application/json", "User-Agent": "rita-data-sources"}
        try:
            connection.request("GET", target, headers=headers | {"Connection": "close"})
            answer = connection.getresponse()
            content = answer.read(LARGEST + 1)
            if answer.length and len(content) <= LARGEST:
                # It was cut: read() with a limit does not say so.
                raise IncompleteRead(content, answer.length)
            return answer.status, content
        finally:
            connection.close()


def _read(content: bytes) -> KeySet:
    if len(content) > LARGEST:
        raise KeysMisconfigured(f"answers with more than {LARGEST // 1024} KiB, so with no key set")
    try:
        found = token_keys.read(json.loads(content))
    except token_keys.NotAKeySet as problem:
        raise KeysMisconfigured(f"answers with {problem}") from None
    except (ValueError, RecursionError):
        what = "a page (HTML)" if content.lstrip()[:1] == b"<" else "something that is not JSON"
        raise KeysMisconfigured(f"answers with {what}, not a key set") from None
    if not found.keys:
        why = f"none is usable: {'; '.join(dict.fromkeys(found.unusable))}" if found.unusable else "it is empty"
        raise NoKeyListed(f"lists no key that verifies tokens: {why[:300]}")
    return found
