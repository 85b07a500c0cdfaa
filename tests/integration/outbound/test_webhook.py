"""One POST to a real HTTP server: what it carries, and what comes of each answer."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain.retry import RetryVerdict
from app.outbound import webhook
from tests.factories import NOON, a_connection, an_operation
from tests.integration.outbound.sockets import a_target, listening, post, saying
from tests.receiver import Receiver, answer

SECRET = "whsec_dGVzdC1zaWduaW5nLXNlY3JldC0wMTIzNDU2Nzg5"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[(status, RetryVerdict.DONE) for status in (200, 201, 202, 204)],
        *[(status, RetryVerdict.FINAL) for status in (300, 304)],
        *[(status, RetryVerdict.FINAL) for status in (400, 401, 403, 404, 409, 410, 413, 418, 422)],
        *[(status, RetryVerdict.RETRY) for status in (408, 425, 429, 500, 502, 503, 504, 599, 600)],
    ],
)
def test_the_status_decides(receiver: Receiver, status: int, verdict: RetryVerdict) -> None:
    receiver.otherwise = answer(status)

    outcome = post(receiver.url)

    assert (outcome.verdict, outcome.status_code) == (verdict, status)
    assert (outcome.error is None) == (verdict is RetryVerdict.DONE)
    assert timedelta(0) < outcome.duration < timedelta(seconds=1)


@pytest.mark.parametrize("body", [b"", b"not json", b'{"error": "no"}', b"\xff\x00", b"x" * 200_000])
def test_the_answers_body_means_nothing(receiver: Receiver, body: bytes) -> None:
    receiver.otherwise = answer(200, body=body)

    assert post(receiver.url).verdict is RetryVerdict.DONE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    with Receiver() as elsewhere:
        receiver.otherwise = answer(status, headers={"Location": elsewhere.url})

        outcome = post(receiver.url)

        assert (outcome.verdict, outcome.status_code) == (RetryVerdict.FINAL, status)
        assert elsewhere.received == []
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_retry_after_in_seconds_is_handed_on(receiver: Receiver, status: int) -> None:
    receiver.otherwise = answer(status, headers={"Retry-After": "7"})

    assert post(receiver.url).retry_after == timedelta(seconds=7)


def test_retry_after_as_a_date_is_handed_on_as_what_is_left_of_it(receiver: Receiver) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=30)
    receiver.otherwise = answer(429, headers={"Retry-After": format_datetime(moment, usegmt=True)})

    pause = post(receiver.url).retry_after

    assert pause is not None
    assert timedelta(seconds=25) < pause <= timedelta(seconds=30)


@pytest.mark.parametrize("value", ["soon", "", "-1", "Sun, 99 Nov 2026 99:99:99 GMT", "21 Oct 99999999999999 07:28:00"])
def test_a_retry_after_that_cannot_be_read_is_none(receiver: Receiver, value: str) -> None:
    receiver.otherwise = answer(503, headers={"Retry-After": value})

    outcome = post(receiver.url)

    assert (outcome.verdict, outcome.retry_after) == (RetryVerdict.RETRY, None)


def test_an_answer_that_asks_to_continue_is_not_the_answer_yet() -> None:
    with listening(
        saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    ) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code) == (RetryVerdict.DONE, 202)


def test_what_arrives_is_the_body_as_json_with_our_authorization(receiver: Receiver) -> None:
    operation = an_operation(a_connection(), kind="verify", requested_by=UUID(int=7), created_at=NOON)
    sealed = {"settings": {"é": "ü"}, "credentials": {"api_token": "hunter2"}}
    body = webhook.webhook_body(operation, connection_type="confluence", decrypted=sealed)

    webhook.post_webhook(body, webhook_id=str(operation.id), request_id="request-1", target=a_target(receiver.url))

    (received,) = receiver.received
    assert received.path == "/webhook"
    assert received.json == {
        "source": "rita-chat",
        "action": "verify_credentials",
        "user_email": "ada@example.org",
        "user_id": str(UUID(int=7)),
        "tenant_id": str(operation.organization_id),
        "timestamp": "2026-11-22T12:00:00.000Z",
        "connection_id": str(operation.connection_id),
        "connection_type": "confluence",
        "operation_id": str(operation.id),
        "settings": {"é": "ü"},
        "credentials": {"api_token": "hunter2"},
    }
    assert received.headers["authorization"] == "Bearer of-the-tests"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-request-id"] == "request-1"
    assert received.headers["content-length"] == str(len(received.body))
    assert received.headers["user-agent"] == webhook.USER_AGENT


def test_without_a_request_there_is_no_request_id(receiver: Receiver) -> None:
    post(receiver.url)

    assert "x-request-id" not in receiver.received[0].headers


def test_the_signature_is_one_that_the_published_library_verifies(receiver: Receiver) -> None:
    body = {"text": "é and 😀", "number": 1}

    webhook.post_webhook(
        body, webhook_id="id-1", request_id=None, target=a_target(receiver.url, signing_secrets=(SECRET,))
    )

    (received,) = receiver.received
    assert Webhook(SECRET).verify(received.body, received.headers) == body
    assert received.headers["webhook-id"] == "id-1"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(received.body + b" ", received.headers)


def test_while_a_secret_is_rotated_a_receiver_with_either_is_served(receiver: Receiver) -> None:
    another = "whsec_" + base64.b64encode(b"another secret, of 32 bytes too!").decode()

    webhook.post_webhook(
        {}, webhook_id="id-1", request_id=None, target=a_target(receiver.url, signing_secrets=(another, SECRET))
    )

    (received,) = receiver.received
    assert len(received.headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, another):
        assert Webhook(secret).verify(received.body, received.headers) == {}


def test_without_a_signing_secret_nothing_is_signed(receiver: Receiver) -> None:
    post(receiver.url)

    assert [name for name in receiver.received[0].headers if name.startswith("webhook-")] == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with Receiver() as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")

        outcome = post(receiver.url)

        assert outcome.verdict is RetryVerdict.DONE
        assert proxy.received == []


def test_a_netrc_of_the_environment_does_not_change_our_authorization(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    post(receiver.url)

    assert receiver.received[0].headers["authorization"] == "Bearer of-the-tests"


def test_cookies_of_one_answer_do_not_come_back_with_the_next_post(receiver: Receiver) -> None:
    receiver.otherwise = answer(500, headers={"Set-Cookie": "session=1"})

    post(receiver.url)
    post(receiver.url)

    assert [received.headers.get("cookie") for received in receiver.received] == [None, None]
    assert json.loads(receiver.received[1].body) == {"hello": "there"}
