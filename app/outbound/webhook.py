"""One POST to the external service and what came of it. The only importer of the HTTP client."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pydantic_core
import requests
import structlog
from standardwebhooks import Webhook
from urllib3 import exceptions as urllib3_exceptions

from app.config import Settings
from app.domain import retry
from app.domain.aggregate import Operation
from app.outbound import trust_store, webhook_bodies
from app.outbound.deadline import TotalDeadline
from app.outbound.deadline_adapter import DeadlineAdapter
from app.outbound.http_responses import UnreadableHeaders

log = structlog.get_logger()

# The answer's body means nothing to us; a little is read so that the receiver can finish politely.
MAX_RESPONSE_BYTES_READ = 64 * 1024
USER_AGENT = "rita-data-sources"
# What a Retry-After counts for at most, and the most digits that are read of it.
MAX_RETRY_AFTER, MAX_RETRY_AFTER_DIGITS = timedelta(days=1), 9


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where webhooks go and how long one may take. `signing_secrets` in the form of Standard Webhooks (whsec_…)."""

    url: str
    authorization: str = field(repr=False)
    signing_secrets: tuple[str, ...] = field(repr=False)
    ca_file: str | None
    connect_timeout: timedelta
    read_timeout: timedelta
    total_timeout: timedelta

    @classmethod
    def from_settings(cls, settings: Settings) -> WebhookTarget:
        """Return the configured receiver."""
        return cls(
            url=settings.automation_webhook_url,
            authorization=settings.automation_auth,
            signing_secrets=settings.webhook_signing_secret,
            ca_file=settings.webhook_ca_file,
            connect_timeout=settings.webhook_connect_seconds,
            read_timeout=settings.webhook_read_seconds,
            total_timeout=settings.webhook_total_seconds,
        )


def webhook_body(
    operation: Operation, *, connection_type: str, decrypted: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the webhook's JSON: exactly the keys of CONTRACT's section 4.

    It is the same at every attempt. `decrypted` is a verification's decrypted content: its settings and credentials.
    """
    common = {
        "user_email": operation.requested_email,
        "user_id": operation.requested_by,
        "tenant_id": operation.organization_id,
        "timestamp": operation.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "connection_id": operation.connection_id,
        "connection_type": connection_type,
        "operation_id": operation.id,
    }
    if operation.kind == "verify":
        seal = {"settings": {}, "credentials": {}} | dict(decrypted or {})
        own = {"settings": seal["settings"], "credentials": seal["credentials"]}
        return webhook_bodies.VerifyWebhook.model_validate(common | own).model_dump()
    request = {"config": {}} | operation.request
    own = {"connection_name": request["connection_name"], "config": request["config"]}
    return webhook_bodies.SyncWebhook.model_validate(common | own).model_dump()


def post_webhook(
    body: Mapping[str, Any],
    *,
    webhook_id: str,
    request_id: str | None,
    target: WebhookTarget,
    signing_time: datetime | None = None,
) -> retry.AttemptOutcome:
    """Post once, without following redirects, and judge what comes back; never raises for what the network does.

    `signing_time` is now, unless a receiver is to be tried with another time.
    """
    payload = pydantic_core.to_json(body).decode()
    now = signing_time or datetime.now(UTC)
    headers = _request_headers(payload, webhook_id=webhook_id, request_id=request_id, target=target, now=now)
    started_at = time.monotonic()
    deadline = TotalDeadline(target.total_timeout)
    # The adapter alone: no proxy, .netrc, cookie or redirect of a session's decides where credentials go.
    create_ssl_context = partial(trust_store.create_ssl_context, target.ca_file)
    timeouts = (target.connect_timeout.total_seconds(), target.read_timeout.total_seconds())
    with closing(DeadlineAdapter(deadline, create_ssl_context=create_ssl_context)) as adapter, deadline.enforced():
        try:
            request = requests.Request("POST", target.url, data=payload.encode(), headers=headers).prepare()
            response = adapter.send(request, timeout=timeouts, stream=True)
        except (requests.RequestException, urllib3_exceptions.HTTPError, UnicodeError) as problem:
            for cause in _exception_chain(problem):
                if isinstance(cause, UnreadableHeaders):
                    return retry.outcome_of_status_code(cause.final_status, duration=_elapsed_since(started_at))
            failure = retry.AttemptFailure.TOTAL_TIMEOUT if deadline.is_expired else _failure_of_exception(problem)
            return retry.outcome_of_failure(failure, duration=_elapsed_since(started_at))
        # The status is the answer, whatever becomes of what is behind it.
        with response:
            _read_limited_response_body(response)
        retry_after = _parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
        duration = _elapsed_since(started_at)
        return retry.outcome_of_status_code(response.status_code, retry_after=retry_after, duration=duration)


def test_connection(target: WebhookTarget) -> retry.AttemptFailure | None:
    """Connect to the receiver, with TLS where it has that, and send nothing; return why not, or None."""
    parts = urlsplit(target.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    timeout = target.connect_timeout.total_seconds()
    try:
        with socket.create_connection((parts.hostname, port), timeout=timeout) as open_socket:
            if parts.scheme == "https":
                context = trust_store.create_ssl_context(target.ca_file)
                context.wrap_socket(open_socket, server_hostname=parts.hostname).close()
    except (OSError, UnicodeError) as problem:
        return _failure_of_exception(problem)
    return None


def _request_headers(
    payload: str, *, webhook_id: str, request_id: str | None, target: WebhookTarget, now: datetime
) -> dict[str, str]:
    headers = {
        "Authorization": target.authorization,
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if request_id:
        headers["X-Request-ID"] = request_id
    if target.signing_secrets:
        # Standard Webhooks 1.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        headers["webhook-id"] = webhook_id
        headers["webhook-timestamp"] = str(int(now.timestamp()))
        signatures = [Webhook(secret).sign(webhook_id, now, payload) for secret in target.signing_secrets]
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def _read_limited_response_body(response: requests.Response) -> None:
    """Read what there is, as it is: neither decoded nor missed where it is cut short."""
    read = 0
    with suppress(urllib3_exceptions.HTTPError, OSError):
        for chunk in response.raw.stream(8192, decode_content=False):
            read += len(chunk)
            if read > MAX_RESPONSE_BYTES_READ:
                return


def _elapsed_since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)


def _exception_chain(problem: BaseException) -> list[BaseException]:
    """Return an exception with all that it wraps: requests wraps urllib3, which wraps the socket's own."""
    found: list[BaseException] = []
    waiting: list[object] = [problem]
    while waiting:
        current = waiting.pop()
        if isinstance(current, BaseException) and current not in found:
            found.append(current)
            waiting += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return found


# The first row of which an instance is among the causes decides, so the most telling come first.
FAILURE_BY_EXCEPTION_TYPES: tuple[tuple[tuple[type[BaseException], ...], retry.AttemptFailure], ...] = (
    ((socket.gaierror, urllib3_exceptions.NameResolutionError, UnicodeError), retry.AttemptFailure.DNS),
    ((ssl.SSLCertVerificationError,), retry.AttemptFailure.TLS),
    ((ConnectionRefusedError,), retry.AttemptFailure.REFUSED),
    ((http.client.RemoteDisconnected,), retry.AttemptFailure.DISCONNECTED),
    ((requests.ConnectTimeout, urllib3_exceptions.ConnectTimeoutError), retry.AttemptFailure.CONNECT_TIMEOUT),
    ((requests.ReadTimeout, urllib3_exceptions.ReadTimeoutError, TimeoutError), retry.AttemptFailure.READ_TIMEOUT),
    ((http.client.HTTPException,), retry.AttemptFailure.RESPONSE_INVALID),
    ((ConnectionError, urllib3_exceptions.ProtocolError, ssl.SSLError), retry.AttemptFailure.DISCONNECTED),
    ((urllib3_exceptions.NewConnectionError,), retry.AttemptFailure.REFUSED),
)


def _failure_of_exception(problem: BaseException) -> retry.AttemptFailure:
    causes = _exception_chain(problem)
    for types, failure in FAILURE_BY_EXCEPTION_TYPES:
        if any(isinstance(cause, types) for cause in causes):
            return failure
    return retry.AttemptFailure.RESPONSE_INVALID


def _parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if (digits := value.strip()).isdecimal():
        # More than a day is capped by the schedule anyway, and might not fit a timedelta, or even an int.
        fits = len(digits) <= MAX_RETRY_AFTER_DIGITS
        return min(timedelta(seconds=int(digits)), MAX_RETRY_AFTER) if fits else MAX_RETRY_AFTER
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(timedelta(0), moment - now)
