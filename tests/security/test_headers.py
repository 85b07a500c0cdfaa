"""What every answer tells a browser: run nothing foreign, guess no types, show in no frame, share with no origin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser
from tests.security.rules import calls, needs_sign_in

PATH = "/api/data-sources"
EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


# Made by a library that writes its page as text; there, nothing foreign may run all the same.
WRITTEN = "/api/docs"


# Opened by a platform's page, which it has to know; it shows nothing.
OPENED = "/hand-over"


def check(answer: Any) -> None:
    is_opened = answer.request.path == OPENED and answer.status_code == 200
    expected = EXPECTED | ({"Cross-Origin-Opener-Policy": "unsafe-none"} if is_opened else {})
    assert {name: answer.headers.get(name) for name in expected} == expected
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert {policy[name] for name in ("frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    if answer.request.path != WRITTEN:
        assert (policy["object-src"], policy["require-trusted-types-for"]) == ("'none'", "'script'")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "microphone=()" in answer.headers["Permissions-Policy"]
    # Only who ends TLS may promise it.
    assert "Strict-Transport-Security" not in answer.headers


def test_every_rule_answers_with_them_signed_in_or_not(web: Flask) -> None:
    ada = Browser(web)
    for call in calls(web):
        path = call.path("console.js" if call.rule.startswith("/console") else "x")
        for answer in (web.test_client().open(path, method=call.method), ada.call(call.method, path)):
            with answer:
                check(answer)


def test_only_the_page_of_the_hand_over_may_know_who_opened_it(another_app: Callable[..., Flask]) -> None:
    browser = another_app(cors_origins=("https://platform.example",)).test_client()

    for path in (OPENED, "/hand-over/origins", "/"):
        with browser.get(path) as answer:
            assert answer.status_code == 200
            check(answer)
    assert browser.get("/hand-over/origins").json == ["https://platform.example"]


def test_only_a_page_that_opens_the_platforms_to_sign_in_stays_known_to_it(another_app: Callable[..., Flask]) -> None:
    browser = another_app(sign_in_url="https://platform.example/rita").test_client()

    with browser.get("/") as answer:
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
    assert browser.get("/sign-in").json == {"url": "https://platform.example/rita"}


def test_the_page_can_be_left_out_and_the_api_stays(another_app: Callable[..., Flask]) -> None:
    browser = another_app(built_in_page=False, cors_origins=("https://platform.example",)).test_client()

    for path in ("/", "/console/main.js", "/sign-in", "/hand-over", "/hand-over/origins"):
        with browser.get(path) as answer:
            assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    for path in ("/api/docs", "/api/openapi.json", "/healthz"):
        with browser.get(path) as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/nothing", "/console/nothing", "/console/console.js", "/", "/readyz"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_errors_pages_and_files_have_them_too(web: Flask, path: str, method: str) -> None:
    with web.test_client().open(path, method=method) as answer:
        check(answer)


def test_an_answer_to_what_nobody_expected_has_them(another_app: Callable[..., Flask]) -> None:
    app = another_app()
    app.add_url_rule("/api/crash", "crash", lambda: 1 / 0)

    answer = app.test_client().get("/api/crash")

    assert answer.status_code == 500
    check(answer)


def test_the_event_stream_has_them(web: Flask) -> None:
    with Browser(web).get("/api/sse") as answer:
        assert answer.mimetype == "text/event-stream"
        check(answer)


def test_answers_of_the_api_are_kept_by_nobody(web: Flask) -> None:
    ada = Browser(web)

    kept = {call: ada.call(call.method, call.path()) for call in calls(web) if needs_sign_in(call)}
    for call, answer in kept.items():
        with answer:
            assert answer.headers["Cache-Control"] in ("no-store", "no-store, no-transform"), call


def test_the_stream_of_a_ticket_which_stands_in_its_address_is_kept_by_nobody(web: Flask) -> None:
    ticket = Browser(web).post("/api/sse/tickets").json["ticket"]

    with web.test_client().get("/api/sse", query_string={"ticket": ticket}) as answer:
        assert answer.status_code == 200
        assert "no-store" in answer.headers["Cache-Control"]


def test_no_answer_sets_a_cookie(web: Flask) -> None:
    ada = Browser(web)

    for call in calls(web):
        with ada.call(call.method, call.path()) as answer:
            assert "Set-Cookie" not in answer.headers, call


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "yesterday"])
def test_a_date_that_is_none_is_as_good_as_no_date(web: Flask, date: str) -> None:
    for headers in ({"If-Modified-Since": date}, {"If-Range": date, "Range": "bytes=0-1"}):
        with web.test_client().get("/console/main.js", headers=headers) as answer:
            assert answer.status_code == 200
