from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser, rows

PATH = "/api/data-sources"
JSON = "application/json"
DEEP = "[" * 100_000


@pytest.fixture
def ada(web: Flask) -> Browser:
    ada = Browser(web)
    ada.seeded()
    return ada


def send(ada: Browser, content: bytes | str, *, content_type: str | None = JSON) -> Any:
    """Send a body where one is needed, and make sure that what is refused changed nothing."""
    before = ada.connection()
    answer = ada.patch(f"{PATH}/{before['id']}", data=content, content_type=content_type)
    if answer.status_code != 200:
        assert ada.connection() == before
    return answer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"{'name': 'x'}",
        b'{"name": "x",}',
        b'{"name": "x"} x',
        b'{"name": undefined}',
        b"name=x",
        b"<xml/>",
        b"\xff\xfe{}",
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\\ud800"}',
        b'{"config": {"a": "\\udc00\\ud800"}}',
        b'{"name": "a\nb"}',
        DEEP.encode(),
        b'{"config": {"a": ' + DEEP.encode() + b"}}",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_json_is_malformed(ada: Browser, content: bytes) -> None:
    answer = send(ada, content)

    assert (answer.status_code, answer.json["code"]) == (400, "malformed_json")
    assert answer.json["message"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("content", [b"null", b"[]", b'"x"', b"7", b"true", b"[{}]"])
def test_what_is_no_object_is_of_the_wrong_shape_and_the_message_is_a_sentence(ada: Browser, content: bytes) -> None:
    answer = send(ada, content)

    assert (answer.status_code, answer.json["code"]) == (422, "validation_error")
    assert not answer.json["message"].startswith(":")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ('{"name": null}', "name"),
        ('{"name": 7}', "name"),
        ('{"name": ""}', "name"),
        ('{"name": "  "}', "name"),
        ('{"name": ["x"]}', "name"),
        ('{"name": "' + "x" * 201 + '"}', "name"),
        ('{"name": "a\\u0000b"}', "name"),
        ('{"description": 7}', "description"),
        ('{"description": "' + "x" * 2001 + '"}', "description"),
        ('{"description": "\\u0000"}', "description"),
        ('{"enabled": null}', "enabled"),
        ('{"enabled": "true"}', "enabled"),
        ('{"enabled": 1}', "enabled"),
        ('{"config": null}', "config"),
        ('{"config": []}', "config"),
        ('{"config": "{}"}', "config"),
        ('{"config": {"a": NaN}}', "config"),
        ('{"config": {"a": -Infinity}}', "config"),
        ('{"config": {"a": 1e400}}', "config"),
        ('{"config": {"a": 1e19}}', "config"),
        ('{"config": {"a": -1.7976931348623157e308}}', "config"),
        ('{"config": {"a": 9223372036854775808}}', "config"),
        ('{"config": {"a": -9223372036854775809}}', "config"),
        ('{"config": {"a": "\\u0000"}}', "config"),
        ('{"config": {"\\u0000": 1}}', "config"),
        ('{"config": {"a": [[{"b": "\\u0000"}]]}}', "config"),
        ('{"config": {"a": ' + "[" * 30 + "]" * 30 + "}}", "config"),
        ('{"config": {"a": "' + "x" * 270_000 + '"}}', "config"),
        ('{"status": "syncing"}', "status"),
        ('{"latest_options": {}}', "latest_options"),
    ],
    ids=lambda text: text[:30],
)
def test_what_cannot_be_kept_is_refused_by_its_field(ada: Browser, content: str, field: str) -> None:
    answer = send(ada, content)

    assert (answer.status_code, answer.json["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert answer.json["message"].startswith(f"{field}: ")
    assert len(answer.text) < 1_000


def test_a_number_of_five_thousand_digits_is_refused(ada: Browser) -> None:
    answer = send(ada, '{"config": {"a": ' + "9" * 5_000 + "}}")

    assert answer.status_code in (400, 422)


def test_every_wrong_field_is_named(ada: Browser) -> None:
    answer = send(ada, '{"name": 7, "config": [], "enabled": "no", "bogus": 1}')

    assert {error["field"] for error in answer.json["errors"]} == {"name", "config", "enabled", "bogus"}


def test_no_refusal_repeats_what_was_sent(ada: Browser) -> None:
    for content in (
        '{"name": ["of-the-sender"]}',
        '{"config": "of-the-sender"}',
        '{"enabled": "of-the-sender"}',
        '{"name": "of-the-sender\\u0000"}',
        '{"name": "of-the-sender',
    ):
        assert "of-the-sender" not in send(ada, content).text


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
@pytest.mark.parametrize("content", [b'{"name": "x"}', b""])
def test_a_body_that_is_not_declared_as_json_is_refused(ada: Browser, content: bytes, content_type: str | None) -> None:
    answer = send(ada, content, content_type=content_type)

    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json["message"]


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_declared_with_a_charset(ada: Browser, content_type: str) -> None:
    assert send(ada, b'{"name": "W\xc3\xbciki"}', content_type=content_type).json["data"]["name"] == "Wüiki"


@pytest.mark.parametrize(("method", "suffix"), [("PUT", ""), ("PATCH", ""), ("POST", "/verify"), ("POST", "/sync")])
def test_too_large_a_body_is_refused(web: Flask, ada: Browser, method: str, suffix: str) -> None:
    path = f"{PATH}/{ada.connection()['id']}{suffix}"

    answer = ada.call(method, path, data=b'{"name": "' + b"x" * 400_000 + b'"}', content_type=JSON)

    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
    assert rows(web, "SELECT id FROM operations") == []


def test_a_body_whose_length_is_not_told_has_the_same_limit(ada: Browser) -> None:
    answer = ada.patch(
        f"{PATH}/{ada.connection()['id']}",
        input_stream=BytesIO(b"[" + b" " * 400_000 + b"]"),
        content_type=JSON,
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )

    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("path", [f"{PATH}/%00", f"{PATH}/%ff", f"{PATH}/%ed%a0%80", f"{PATH}/{'x' * 5_000}"])
def test_a_path_of_strange_bytes_names_nothing(ada: Browser, path: str) -> None:
    assert ada.get(path).status_code == 404
    assert ada.put(path, {}).json["code"] == "invalid_type"


@pytest.mark.parametrize("query", ["status=%00", "type=%00", "enabled=%ff", "type=%ed%a0%80", "status=" + "x" * 5_000])
def test_a_filter_of_strange_bytes_is_refused(ada: Browser, query: str) -> None:
    assert ada.get(f"{PATH}?{query}").status_code == 400
