"""Pages of other origins: only those on the list may read what the API answers, and never with cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser
from tests.security.rules import calls, needs_sign_in

PATH = "/api/data-sources"
ALLOWED, LOCAL, BRACKETS = "https://app.example.org", "http://localhost:3000", "http://[::1]:3000"
HEADERS = "authorization, content-type, idempotency-key, if-match, last-event-id, x-request-id"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": HEADERS,
}


@pytest.fixture
def shared(web: Flask, another_app: Callable[..., Flask]) -> Flask:
    """The application with three origins on its list."""
    assert web
    return another_app(cors_origins=f"{ALLOWED},{LOCAL},{BRACKETS}")


def headers_of(answer: Any) -> dict[str, str]:
    """Return the headers that tell a browser what a page of another origin may do."""
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize("origin", [ALLOWED, LOCAL, BRACKETS])
def test_a_page_of_an_origin_on_the_list_may_read_answers(shared: Flask, origin: str) -> None:
    answer = Browser(shared).get(PATH, headers={"Origin": origin})

    assert answer.status_code == 200
    assert headers_of(answer) == {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "ETag, Retry-After, X-Request-ID",
    }
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://app.example.org.evil.example",
        "https://evilapp.example.org",
        "https://app.example.org/",
        "https://app.example.org\tx",
        "https://appXexample.org",
        "http://1:3000",
        "http://:3000",
        "null",
        "*",
        "",
        ".*",
    ],
)
def test_any_other_page_may_read_nothing(shared: Flask, origin: str) -> None:
    answer = Browser(shared).get(PATH, headers={"Origin": origin})
    preflight = shared.test_client().options(PATH, headers=PREFLIGHT | {"Origin": origin})

    assert headers_of(answer) == headers_of(preflight) == {}


def test_a_preflight_is_answered_without_a_token_on_every_rule(shared: Flask) -> None:
    client = shared.test_client()
    asked = [call for call in calls(shared) if needs_sign_in(call)]

    for call in asked:
        wanted = PREFLIGHT | {"Origin": ALLOWED, "Access-Control-Request-Method": call.method}
        answer = client.options(call.path(), headers=wanted)
        assert answer.status_code == 200, call
        assert answer.data == b""
        assert headers_of(answer) == {
            "Access-Control-Allow-Origin": ALLOWED,
            "Access-Control-Expose-Headers": "ETag, Retry-After, X-Request-ID",
            "Access-Control-Allow-Headers": HEADERS,
            "Access-Control-Allow-Methods": "DELETE, GET, PATCH, POST, PUT",
            "Access-Control-Max-Age": "600",
        }
    assert len(asked) >= 11


def test_a_preflight_allows_no_header_beyond_the_list(shared: Flask) -> None:
    wanted = PREFLIGHT | {"Origin": ALLOWED, "Access-Control-Request-Headers": "authorization, cookie, x-anything"}

    answer = shared.test_client().options(PATH, headers=wanted)

    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"


def test_errors_can_be_read_too(shared: Flask) -> None:
    ada, origin = Browser(shared), {"Origin": ALLOWED}
    answers = [
        shared.test_client().get(PATH, headers=origin),
        ada.get(f"{PATH}/{ada.user_id}", headers=origin),
        ada.get("/api/nothing", headers=origin),
        ada.delete(PATH, headers=origin),
        ada.put(f"{PATH}/confluence", {"name": 7}, headers=origin),
    ]

    assert [answer.status_code for answer in answers] == [401, 404, 404, 405, 422]
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {ALLOWED}


def test_the_page_and_the_health_checks_are_nobody_elses(shared: Flask) -> None:
    for path in ("/", "/console/console.js", "/healthz"):
        with shared.test_client().get(path, headers={"Origin": ALLOWED}) as answer:
            assert headers_of(answer) == {}


def test_without_a_list_no_origin_may_read_anything(web: Flask) -> None:
    answer = Browser(web).get(PATH, headers={"Origin": ALLOWED})
    preflight = web.test_client().options(PATH, headers=PREFLIGHT | {"Origin": ALLOWED})

    assert headers_of(answer) == headers_of(preflight) == {}


def test_a_request_that_only_says_options_changes_nothing(web: Flask) -> None:
    ada = Browser(web)
    before = ada.seeded()

    answers = {call: web.test_client().options(call.path(before)) for call in calls(web) if needs_sign_in(call)}

    assert {answer.data for answer in answers.values()} == {b""}
    assert ada.connection()["id"] == before
