"""Hostile input on every door: bodies, headers, texts that end up in events and webhooks, addresses, file names."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from app.api.console import FILES
from app.api.requests import LARGEST_BODY
from app.outbound import events
from tests.e2e.browser import Person
from tests.factories import Browser, a_sync_message, a_verification_message, apply_messages
from tests.integration.sse.conftest import Web
from tests.integration.tasks.conftest import Job
from tests.places import of_database
from tests.receiver import Receiver, answer
from tests.security.rules import Call, calls, needs_sign_in

PATH = "/api/data-sources"
JSON = "application/json"
DEEP = 100_000
Run = Callable[..., None]


def nested(opening: str, closing: str, inner: str = "1") -> bytes:
    return (opening * DEEP + inner + closing * DEEP).encode()


BODIES: dict[str, bytes] = {
    "cut off": b'{"name": "x',
    "nothing but blanks": b" \n\t",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "UTF-32": '{"name": "x"}'.encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "half a surrogate pair": b'{"name": "\\ud83d"}',
    "half a pair as a key": b'{"\\udc00": 1}',
    "halves in the wrong order": b'{"config": {"a": "\\udc00\\ud83d"}}',
    "a surrogate in bytes": b'{"name": "\xed\xa0\x80"}',
    "a NUL between": b'{"name"\x00: "x"}',
    "two values": b"{} {}",
    "a comment": b'{"name": "x"} // comment',
    "deep lists": nested("[", "]"),
    "deep objects": nested('{"a":', "}"),
    "deep without an end": b"[" * DEEP,
    "deep within a field": b'{"config": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
    "too large": b'{"name": "' + b"x" * LARGEST_BODY + b'"}',
    "too large blanks": b" " * (LARGEST_BODY + 1) + b"{}",
    "a number": b"1e999999999",
    "a list": b"[{}]",
    "a text": b'"x"',
    "null": b"null",
    "unknown keys": b'{"__proto__": {"admin": true}, "constructor": 1}',
    "a thousand unknown keys": json.dumps({f"key{number}": number for number in range(1_000)}).encode(),
    "an unknown key as long as fits": b'{"' + b"k" * (LARGEST_BODY - 10) + b'": 1}',
    "an unknown type as long as fits": b'{"type": "' + b"t" * (LARGEST_BODY - 20) + b'"}',
    "a secret of a name as long as fits": b'{"type": "jira", "config": {"' + b"k" * 60_000 + b'_password": 1}}',
    "as many unknown keys as fit": json.dumps({f"k{number}": 0 for number in range(18_000)}).encode(),
}
VALUES: dict[str, str] = {
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "more than a float holds": "1e400",
    "a huge whole number": "9" * 5_000,
    "a number of endless digits": "0." + "3" * 50_000,
    "NUL": '"\\u0000"',
    "deep": "[" * 60 + "]" * 60,
    "long": '"' + "x" * 200_000 + '"',
    "wide": "[" + ",".join(["{}"] * 40_000) + "]",
    "null": "null",
    "true": "true",
    "an object": '{"a": {}}',
}
FIELDS = ('{"name": %s}', '{"description": %s}', '{"config": %s}', '{"config": {"a": %s}}', '{"enabled": %s}',
          '{"force": %s}', '{"settings": %s}', '{"settings": {"a": %s}}', '{"credentials": %s}',
          '{"credentials": {"password": %s}}', '{"type": %s}')  # fmt: skip


@pytest.fixture
def ada(web: Flask) -> Browser:
    ada = Browser(web, role="owner")
    ada.seeded()
    return ada


@pytest.fixture
def reading(web: Flask, ada: Browser) -> list[tuple[Call, str]]:
    """Every call that reads a body, with its path: those that refuse half a one."""
    connection_id = ada.connection()["id"]
    paths = [(call, call.path(connection_id)) for call in calls(web) if needs_sign_in(call)]
    found = [
        (c, path) for c, path in paths if ada.call(c.method, path, data=b"{", content_type=JSON).status_code == 400
    ]
    assert len(found) >= 5
    return found


@pytest.fixture
def kept(superuser: str) -> Callable[[], dict[str, list[str]]]:
    return lambda: {table: rows for table, rows in of_database(superuser).items() if table != "pg_stat_activity"}


@pytest.mark.parametrize("kind", BODIES)
def test_a_hostile_body_is_refused_everywhere_each_time_alike_and_in_few_words(
    ada: Browser, reading: list[tuple[Call, str]], kept: Callable[[], dict[str, list[str]]], kind: str
) -> None:
    before = kept()

    for call, path in reading:
        first, second = (ada.call(call.method, path, data=BODIES[kind], content_type=JSON) for _ in range(2))
        assert first.status_code in (400, 413, 422), (str(call), first.text[:200])
        assert (first.status_code, first.json["code"]) == (second.status_code, second.json["code"])
        assert len(first.data) < 8_000, "an answer must not be larger than what it answers"
    assert kept() == before


@pytest.mark.parametrize("kind", VALUES)
def test_no_value_of_any_field_breaks_anything(
    web: Flask, ada: Browser, reading: list[tuple[Call, str]], kind: str
) -> None:
    for call, path in reading:
        for field in FIELDS:
            given = ada.call(call.method, path, data=(field % VALUES[kind]).encode(), content_type=JSON)
            assert given.status_code < 500, (str(call), field, given.text[:200])
            assert given.status_code in (200, 201, 400, 409, 413, 422)
    # What was taken can be read, pushed and told to the external service.
    assert ada.get(PATH).status_code == 200
    with Browser(web, organization_id=ada.organization_id).get("/api/sse") as stream:
        assert stream.status_code == 200


class Counted(io.RawIOBase):
    """A body without end that counts what is read of it."""

    def __init__(self) -> None:
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.read_so_far += len(buffer)
        buffer[:] = b"[" * len(buffer)
        return len(buffer)


@pytest.mark.parametrize(
    ("length", "most"),
    [(10**12, 0), (LARGEST_BODY + 1, 0), (None, 2 * LARGEST_BODY)],
    ids=["told", "just over", "untold"],
)
def test_of_a_body_that_is_too_large_no_more_is_read_than_may_be(
    ada: Browser, reading: list[tuple[Call, str]], length: int | None, most: int
) -> None:
    for call, path in reading:
        endless = Counted()
        environ = {"wsgi.input": io.BufferedReader(endless), "CONTENT_LENGTH": str(length or "")}
        if length is None:
            environ["wsgi.input_terminated"] = True
        given = ada.call(call.method, path, content_type=JSON, environ_overrides=environ)
        assert given.status_code == 413, str(call)
        assert endless.read_so_far <= most


def test_a_body_in_chunks_whose_beginning_would_do_is_refused_too(live: Web, ada: Browser) -> None:
    before = ada.connection()
    chunks = [b'{"name": "Cut"}', b" " * (2 * LARGEST_BODY), b"and more"]

    refused = requests.patch(
        f"{live.base_url}{PATH}/{before['id']}",
        data=iter(chunks),
        headers={"Authorization": f"Bearer {ada.token}", "Content-Type": JSON},
        timeout=20,
    )

    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert ada.connection() == before


def test_of_many_secrets_only_some_are_named(ada: Browser) -> None:
    config = {f"password{number}": "x" for number in range(2_000)}

    refused = ada.patch(f"{PATH}/{ada.connection()['id']}", {"config": config})

    assert (refused.status_code, refused.json["code"]) == (422, "secret_refused")
    assert 1 <= len(refused.json["errors"]) <= 20
    assert len(refused.data) < 8_000


def test_of_two_keys_of_one_name_the_one_that_was_checked_is_kept(ada: Browser) -> None:
    path = f"{PATH}/{ada.connection()['id']}"

    def send(text: str) -> Any:
        return ada.patch(path, data=text.encode(), content_type=JSON)

    assert send('{"config": {"a": 1}, "config": {"password": "x"}}').json["code"] == "secret_refused"
    assert send('{"config": {"b": {"token": "x", "token": "y"}}}').json["code"] == "secret_refused"
    assert send('{"config": {"password": "x"}, "config": {"a": 1}}').json["data"]["config"] == {"a": 1}
    assert "password" not in ada.get(path).text


def test_of_two_fields_of_one_name_a_member_is_judged_by_the_one_that_counts(web: Flask, ada: Browser) -> None:
    member = Browser(web, organization_id=ada.organization_id, role="member")
    path = f"{PATH}/{ada.connection()['id']}"
    ada.patch(path, {"enabled": True})

    refused = member.patch(path, data=b'{"enabled": true, "enabled": false}', content_type=JSON)
    member.patch(path, data=b'{"enabled": false, "enabled": true}', content_type=JSON)

    assert refused.json["code"] == "admin_required"
    assert ada.connection()["enabled"] is True


# --- headers


def exchange(base_url: str, request: bytes) -> bytes:
    """Send bytes to the web server as they are, and return its answer as it is."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as opened:
        opened.sendall(request)
        opened.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := opened.recv(65536):
            received += chunk
    return received


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-ID: a\rX-Injected: 1",
        b"X-Request-ID: a\x0bX-Injected: 1",
        b"X-Request-ID: a\x00X-Injected: 1",
        b"X-Request-ID: a%0d%0aX-Injected: 1",
        b"X-Request-ID: a\xe2\x80\xa8X-Injected: 1",
        b"X-Request-ID: a\xc4\x8d\xc4\x8aX-Injected: 1",
        b"X-Request-ID: \r\n X-Injected: 1",
        b"X-Request-ID: " + b"a" * 20_000,
        b"Origin: https://a\rX-Injected: 1",
        b"Authorization: Bearer a\rX-Injected: 1",
    ],
    ids=lambda header: repr(header[:30]),
)
@pytest.mark.parametrize("path", [b"/api/data-sources", b"/healthz", b"/%0d%0aX-Injected:%201"])
def test_no_header_of_a_request_writes_one_of_the_answer(live: Web, path: bytes, header: bytes) -> None:
    request = b"GET " + path + b" HTTP/1.1\r\nHost: rita\r\nConnection: close\r\n" + header + b"\r\n\r\n"

    head, _, _ = exchange(live.base_url, request).partition(b"\r\n\r\n")

    lines = re.split(rb"[\r\n]+", head)
    assert lines[0].startswith(b"HTTP/1.1 ")
    assert not any(line.lower().startswith(b"x-injected") for line in lines)
    assert not any(b"X-Injected" in line for line in lines)


INJECTIONS = [
    "a\r\nX-Injected: 1",
    "a\n\ndata: forged\nid: 9-9\nevent: forged\n\n",
    "a\rdata: forged\r\revent: forged",
    "a\u2028data: forged\u2029id: 9-9",
    "a\x85event: forged\x0b\x0c\x1c\x1d\x1e",
    ": comment\nretry: 1\n",
    "</script><script>alert(1)</script>",
    "\u202egnp.exe",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=repr)
def test_no_text_of_a_connection_writes_a_header_of_its_webhook(
    ada: Browser, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, text: str
) -> None:
    path = f"{PATH}/{ada.connection('websearch')['id']}"
    ada.put(path, {"name": text, "description": text, "config": {text: text}})
    operation_id = ada.post(f"{path}/sync", headers={"X-Request-ID": "good"}).json["data"]["operation_id"]
    assert len(take_jobs()) == 1

    run("webhooks.deliver", operation_id)

    (received,) = receiver.received
    assert received.json["connection_name"] == text.strip()
    assert received.json["config"] == {text: text}
    assert "x-injected" not in received.headers
    assert not any("forged" in value or "Injected" in value for value in received.headers.values())
    assert received.headers["x-request-id"] == "good"


# --- events


def raw_stream(live: Web, person: Person, *, until: str) -> Iterator[str]:
    """Yield the lines of an event stream as any reader may split them, up to one that holds a word."""
    given = requests.get(f"{live.base_url}/api/sse", headers=person.headers, stream=True, timeout=20)
    with given:
        text = ""
        for chunk in given.iter_content(None):
            text += chunk.decode()
            if until in text and text.endswith("\n\n"):
                break
    yield from re.split(r"\r\n|[\n\r\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e]", text)


@pytest.mark.parametrize("text", INJECTIONS, ids=repr)
def test_no_text_begins_a_field_of_an_event(live: Web, web: Flask, ada: Browser, text: str) -> None:
    person = live.person(organization_id=ada.organization_id)
    last = next(iter(web.extensions["redis"].xrevrange(f"rita:sse:{ada.organization_id}:events", count=1)))[0].decode()
    connection = ada.connection()
    ada.patch(f"{PATH}/{connection['id']}", {"name": text, "description": text, "config": {"a": text, text: text}})
    changes = [
        a_sync_message(connection, "sync_failed", error_message=text),
        a_verification_message(connection, "failed", error=text),
        a_verification_message(connection, options={text: text}),
    ]
    applied = apply_messages(web, *changes)
    with web.app_context():
        events.publish(applied.changes)
        events.stream.publish({"end": "of-the-test"}, channel=events.channel_of(ada.organization_id))
    person.headers["Last-Event-ID"] = last

    replayed = list(raw_stream(live, person, until="of-the-test"))
    del person.headers["Last-Event-ID"]
    snapshot = list(raw_stream(live, person, until="data_source_snapshot"))

    for lines in (replayed, snapshot):
        names = [line.partition(":")[0] for line in lines if line]
        assert set(names) <= {"event", "data", "id", "retry", ""}
        assert names.count("event") == names.count("data") == names.count("id")
        assert not any(line.startswith(("event: forged", "data: forged", "id: 9-9", "retry: 1\n")) for line in lines)
        assert [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    assert [name for name in replayed if name.startswith("event:")] == ["event:data_source_update"] * 5


# --- addresses


@pytest.fixture
def bait() -> Iterator[Receiver]:
    """Where nothing of ours may ever knock."""
    with Receiver() as started:
        yield started


def full_of(url: str) -> dict[str, Any]:
    """Return a configuration that names an address in every way that might be followed."""
    names = ["url", "baseUrl", "webhook_url", "callback", "callback_url", "endpoint", "host", "proxy", "redirect_uri",
             "AUTOMATION_WEBHOOK_URL", "automation_webhook_url", "target", "jku", "$ref", "Location"]  # fmt: skip
    return dict.fromkeys(names, url) | {"http": {"proxy": url}, "urls": [url]}


@pytest.mark.parametrize(
    "address", ["bait", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "gopher://x"]
)
def test_nothing_that_is_configured_or_sent_changes_where_the_webhook_goes(
    ada: Browser, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, bait: Receiver, address: str
) -> None:
    url = bait.url if address == "bait" else address
    headers = {
        "Host": urlsplit(url).netloc or "evil.example.org",
        "X-Forwarded-Host": "evil.example.org",
        "Referer": url,
    }
    websearch, confluence = (f"{PATH}/{ada.connection(name)['id']}" for name in ("websearch", "confluence"))
    configured = ada.put(websearch, {"name": url, "description": url, "config": full_of(url)}, headers=headers)
    synced = ada.post(f"{websearch}/sync", headers=headers).json["data"]["operation_id"]
    credentials = {"api_token": "x", "url": url, "proxy": url}
    pressed = {"credentials": credentials, "settings": full_of(url)}
    verified = ada.post(f"{confluence}/verify", pressed, headers=headers).json["operation_id"]
    assert configured.status_code == 200
    assert len(take_jobs()) == 2

    for operation_id in (synced, verified):
        run("webhooks.deliver", operation_id)

    assert [received.json["action"] for received in receiver.received] == [
        "data_source_sync_requested", "verify_credentials",
    ]  # fmt: skip
    assert {received.path for received in receiver.received} == {"/webhook"}
    assert {received.headers["host"] for received in receiver.received} == {urlsplit(receiver.url).netloc}
    assert bait.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("header", ["Location", "Refresh", "Content-Location", "Link", "Alt-Svc"])
def test_no_answer_leads_the_webhook_anywhere_else(
    ada: Browser,
    run: Run,
    take_jobs: Callable[[], list[Job]],
    receiver: Receiver,
    bait: Receiver,
    status: int,
    header: str,
) -> None:
    receiver.otherwise = answer(status, headers={header: bait.url})
    confluence = f"{PATH}/{ada.connection()['id']}"
    pressed = ada.post(f"{confluence}/verify", {"credentials": {"api_token": "x"}})
    assert len(take_jobs()) == 1

    run("webhooks.deliver", pressed.json["operation_id"])

    assert len(receiver.received) == 1
    assert bait.received == []
    assert f"HTTP {status}" in ada.connection()["last_verification_error"]


# --- files


@pytest.mark.parametrize(
    "name",
    [
        "../config.py",
        "../../pyproject.toml",
        "..%2fconfig.py",
        "..%2f..%2f.env.example",
        "%2e%2e/config.py",
        "%2e%2e%2fconfig.py",
        "..%252fconfig.py",
        "....//config.py",
        "..\\config.py",
        "..%5cconfig.py",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "console.js/../../config.py",
        "console.js%00.py",
        "%00",
        ".",
        "..",
        "./",
        "C:/windows/win.ini",
        "x" * 5_000,
        "%c0%ae%c0%ae/config.py",
        "~root/.bashrc",
    ],
)
@pytest.mark.parametrize("prefix", ["/console/", "/"])
def test_no_name_leads_out_of_the_pages_files(live: Web, prefix: str, name: str) -> None:
    request = f"GET {prefix}{name} HTTP/1.1\r\nHost: rita\r\nConnection: close\r\n\r\n".encode()

    head, _, content = exchange(live.base_url, request).partition(b"\r\n\r\n")

    status = int(head.split(b" ")[1])
    assert status in (308, 404) or content.lstrip().lower().startswith(b"<!doctype html>"), head
    assert not any(word in content for word in (b"root:", b"Settings", b"[project]", b"import "))
    assert b"Location" not in head or b"Location: http://rita/" in head


def test_every_file_of_the_page_is_one_that_a_page_needs() -> None:
    assert {path.suffix for path in FILES.rglob("*") if path.is_file()} <= {".html", ".css", ".js", ".svg"}
