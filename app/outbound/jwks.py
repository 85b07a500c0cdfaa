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
from app.outbound import trust_store
from app.outbound.deadline import TotalDeadline
from app.outbound.http_responses import FinalHttpResponse

# People who sign in wait for it at the start; afterwards nobody does.
TOTAL_TIMEOUT = timedelta(seconds=5)
# A key takes half a kilobyte, or three with its certificates; the largest issuers list ten.
MAX_KEY_SET_BYTES = 256 * 1024
# Answers that pass by themselves; any other one but 200 comes from a wrong address.
TRANSIENT_STATUS_CODES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

FetchKeys = Callable[[], KeySet]


class KeysUnavailable(Exception):
    """The keys cannot be had now; says why."""


class KeysMisconfigured(KeysUnavailable):
    """What is there will not become a key set by waiting: the address, or the issuer, has to be corrected."""


class NoUsableKey(KeysMisconfigured):
    """It is a key set, and none of its keys verifies anything: what it listed before does not count either."""


class _HttpConnection(HTTPConnection):
    response_class = FinalHttpResponse


def fetch_key_set(jwks_url: str) -> KeySet:
    """Return the keys that are listed at a URL, without following redirects. Raises KeysUnavailable or a kind of it."""
    deadline = TotalDeadline(TOTAL_TIMEOUT)
    try:
        with deadline.enforced():
            status, content = _http_get(jwks_url, deadline)
    except ssl.SSLCertVerificationError as problem:
        raise KeysMisconfigured(f"its certificate is not trusted here: {problem.verify_message}") from None
    except (OSError, HTTPException, ValueError) as problem:
        # A read of the handshake has the same time as the whole.
        too_slow = deadline.is_expired or isinstance(problem, TimeoutError)
        message = _too_slow_message() if too_slow else f"does not answer: {type(problem).__name__}"
        raise KeysUnavailable(message) from None
    if deadline.is_expired:
        raise KeysUnavailable(_too_slow_message())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in TRANSIENT_STATUS_CODES:
        raise KeysUnavailable(f"answers {status}")
    if status != HTTPStatus.OK:
        raise KeysMisconfigured(f"answers {status}; the address must be the key set's own")
    return _parse_key_set_response(content)


def _too_slow_message() -> str:
    return f"does not answer within {TOTAL_TIMEOUT.total_seconds():g} s"


def _http_get(url: str, deadline: TotalDeadline) -> tuple[int, bytes]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    # Our own socket, for the deadline counts from before the handshake; no proxy of the environment's is asked.
    with socket.create_connection((host, port), timeout=TOTAL_TIMEOUT.total_seconds()) as opened:
        deadline.add_socket(opened)
        connection = _HttpConnection(host, port)
        connection.sock = opened
        if secure:
            connection.sock = trust_store.create_ssl_context().wrap_socket(opened, server_hostname=host)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "Accept": "application/json", "User-Agent": "rita-data-sources"}
        try:
            connection.request("GET", target, headers=headers | {"Connection": "close"})
            answer = connection.getresponse()
            content = answer.read(MAX_KEY_SET_BYTES + 1)
            if answer.length and len(content) <= MAX_KEY_SET_BYTES:
                # It was cut: read() with a limit does not say so.
                raise IncompleteRead(content, answer.length)
            return answer.status, content
        finally:
            connection.close()


def _parse_key_set_response(content: bytes) -> KeySet:
    if len(content) > MAX_KEY_SET_BYTES:
        raise KeysMisconfigured(f"answers with more than {MAX_KEY_SET_BYTES // 1024} KiB, so with no key set")
    try:
        found = token_keys.parse_key_set(json.loads(content))
    except token_keys.NotAKeySet as problem:
        raise KeysMisconfigured(f"answers with {problem}") from None
    except (ValueError, RecursionError):
        what = "a page (HTML)" if content.lstrip()[:1] == b"<" else "something that is not JSON"
        raise KeysMisconfigured(f"answers with {what}, not a key set") from None
    if not found.keys:
        reasons = "; ".join(dict.fromkeys(found.unusable_reasons))
        why = f"none is usable: {reasons}" if reasons else "it is empty"
        raise NoUsableKey(f"lists no key that verifies tokens: {why[:300]}")
    return found
