"""Hostile bodies on every door that reads one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask import Flask

from app.api.request_handling import MAX_BODY_BYTES
from tests.factories import Browser
from tests.integration.sse.conftest import Web
from tests.places import of_database
from tests.security.rules import Call, calls, needs_sign_in

PATH = "/api/data-sources"
JSON = "application/json"
DEEP = 100_000


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
    "too large": b'{"name": "' + b"x" * MAX_BODY_BYTES + b'"}',
    "too large blanks": b" " * (MAX_BODY_BYTES + 1) + b"{}",
    "a number": b"1e999999999",
    "a list": b"[{}]",
    "a text": b'"x"',
    "null": b"null",
    "unknown keys": b'{"__proto__": {"admin": true}, "constructor": 1}',
    "a thousand unknown keys": json.dumps({f"key{number}": number for number in range(1_000)}).encode(),
    "an unknown key as long as fits": b'{"' + b"k" * (MAX_BODY_BYTES - 10) + b'": 1}',
    "an unknown type as long as fits": b'{"type": "' + b"t" * (MAX_BODY_BYTES - 20) + b'"}',
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
def reading(web: Flask, owner: Browser) -> list[tuple[Call, str]]:
    """Every call that reads a body, with its path: those that refuse half a one."""
    connection_id = owner.connection()["id"]
    paths = [(call, call.path(connection_id)) for call in calls(web) if needs_sign_in(call)]
    found = [
        (c, path) for c, path in paths if owner.call(c.method, path, data=b"{", content_type=JSON).status_code == 400
    ]
    assert len(found) >= 5
    return found


@pytest.fixture
def kept(superuser: str) -> Callable[[], dict[str, list[str]]]:
    return lambda: {table: rows for table, rows in of_database(superuser).items() if table != "pg_stat_activity"}


@pytest.mark.parametrize("kind", BODIES)
def test_a_hostile_body_is_refused_everywhere_each_time_alike_and_in_few_words(
    owner: Browser, reading: list[tuple[Call, str]], kept: Callable[[], dict[str, list[str]]], kind: str
) -> None:
    before = kept()

    for call, path in reading:
        first, second = (owner.call(call.method, path, data=BODIES[kind], content_type=JSON) for _ in range(2))
        assert first.status_code in (400, 413, 422), (str(call), first.text[:200])
        assert (first.status_code, first.json["code"]) == (second.status_code, second.json["code"])
        assert len(first.data) < 8_000, "an answer must not be larger than what it answers"
    assert kept() == before


@pytest.mark.parametrize("kind", VALUES)
def test_no_value_of_any_field_breaks_anything(
    web: Flask, owner: Browser, reading: list[tuple[Call, str]], kind: str
) -> None:
    for call, path in reading:
        for field in FIELDS:
            given = owner.call(call.method, path, data=(field % VALUES[kind]).encode(), content_type=JSON)
            assert given.status_code < 500, (str(call), field, given.text[:200])
            assert given.status_code in (200, 201, 400, 409, 413, 422)
    # What was taken can be read, pushed and told to the external service.
    assert owner.get(PATH).status_code == 200
    with Browser(web, organization_id=owner.organization_id).get("/api/sse") as stream:
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
    [(10**12, 0), (MAX_BODY_BYTES + 1, 0), (None, 2 * MAX_BODY_BYTES)],
    ids=["told", "just over", "untold"],
)
def test_of_a_body_that_is_too_large_no_more_is_read_than_may_be(
    owner: Browser, reading: list[tuple[Call, str]], length: int | None, most: int
) -> None:
    for call, path in reading:
        endless = Counted()
        environ = {"wsgi.input": io.BufferedReader(endless), "CONTENT_LENGTH": str(length or "")}
        if length is None:
            environ["wsgi.input_terminated"] = True
        given = owner.call(call.method, path, content_type=JSON, environ_overrides=environ)
        assert given.status_code == 413, str(call)
        assert endless.read_so_far <= most


def test_a_body_in_chunks_whose_beginning_would_do_is_refused_too(live: Web, owner: Browser) -> None:
    before = owner.connection()
    chunks = [b'{"name": "Cut"}', b" " * (2 * MAX_BODY_BYTES), b"and more"]

    refused = requests.patch(
        f"{live.base_url}{PATH}/{before['id']}",
        data=iter(chunks),
        headers={"Authorization": f"Bearer {owner.token}", "Content-Type": JSON},
        timeout=20,
    )

    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert owner.connection() == before


def test_of_many_secrets_only_some_are_named(owner: Browser) -> None:
    config = {f"password{number}": "x" for number in range(2_000)}

    refused = owner.patch(f"{PATH}/{owner.connection()['id']}", {"config": config})

    assert (refused.status_code, refused.json["code"]) == (422, "secret_refused")
    assert 1 <= len(refused.json["errors"]) <= 20
    assert len(refused.data) < 8_000


def test_of_two_keys_of_one_name_the_one_that_was_checked_is_kept(owner: Browser) -> None:
    path = f"{PATH}/{owner.connection()['id']}"

    def send(text: str) -> Any:
        return owner.patch(path, data=text.encode(), content_type=JSON)

    assert send('{"config": {"a": 1}, "config": {"password": "x"}}').json["code"] == "secret_refused"
    assert send('{"config": {"b": {"token": "x", "token": "y"}}}').json["code"] == "secret_refused"
    assert send('{"config": {"password": "x"}, "config": {"a": 1}}').json["data"]["config"] == {"a": 1}
    assert "password" not in owner.get(path).text


def test_of_two_fields_of_one_name_a_member_is_judged_by_the_one_that_counts(web: Flask, owner: Browser) -> None:
    member = Browser(web, organization_id=owner.organization_id, role="member")
    path = f"{PATH}/{owner.connection()['id']}"
    owner.patch(path, {"enabled": True})

    refused = member.patch(path, data=b'{"enabled": true, "enabled": false}', content_type=JSON)
    member.patch(path, data=b'{"enabled": false, "enabled": true}', content_type=JSON)

    assert refused.json["code"] == "admin_required"
    assert owner.connection()["enabled"] is True
