"""Texts and headers that try to become more than that: a header of an answer or a webhook, a field of an event."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
import requests
from flask import Flask

from app.outbound import events
from tests.e2e.browser import Person
from tests.factories import Browser, a_sync_message, a_verification_message, apply_messages
from tests.integration.sse.conftest import Web
from tests.integration.tasks.conftest import Job
from tests.receiver import Receiver
from tests.security.wire import exchange

PATH = "/api/data-sources"
Run = Callable[..., None]


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
    owner: Browser, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, text: str
) -> None:
    path = f"{PATH}/{owner.connection('websearch')['id']}"
    owner.put(path, {"name": text, "description": text, "config": {text: text}})
    operation_id = owner.post(f"{path}/sync", headers={"X-Request-ID": "good"}).json["data"]["operation_id"]
    assert len(take_jobs()) == 1

    run("webhooks.deliver", operation_id)

    (received,) = receiver.received
    assert received.json["connection_name"] == text.strip()
    assert received.json["config"] == {text: text}
    assert "x-injected" not in received.headers
    assert not any("forged" in value or "Injected" in value for value in received.headers.values())
    assert received.headers["x-request-id"] == "good"


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
def test_no_text_begins_a_field_of_an_event(live: Web, web: Flask, owner: Browser, text: str) -> None:
    person = live.person(organization_id=owner.organization_id)
    last = next(iter(web.extensions["redis"].xrevrange(f"rita:sse:{owner.organization_id}:events", count=1)))[
        0
    ].decode()
    connection = owner.connection()
    owner.patch(f"{PATH}/{connection['id']}", {"name": text, "description": text, "config": {"a": text, text: text}})
    changes = [
        a_sync_message(connection, "sync_failed", error_message=text),
        a_verification_message(connection, "failed", error=text),
        a_verification_message(connection, options={text: text}),
    ]
    applied = apply_messages(web, *changes)
    with web.app_context():
        events.publish_changes(applied.changes)
        events.event_stream.publish(
            {"end": "of-the-test"}, channel=events.channel_of_organization(owner.organization_id)
        )
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
