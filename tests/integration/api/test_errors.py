from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.factories import Browser, a_token

PATH = "/api/data-sources"
SHAPE = {"error", "message", "code", "request_id"}


def is_our_id(text: str) -> bool:
    return str(UUID(text)) == text


@pytest.fixture
def crashing(another_app: Callable[..., Flask]) -> Flask:
    app = another_app()

    @app.get("/api/crash")
    def crash() -> Any:
        raise RuntimeError("the secret of the crash")

    return app


def test_every_error_has_the_one_shape(web: Flask) -> None:
    ada, member = Browser(web), Browser(web, role="member")
    path = f"{PATH}/{ada.seeded()}"
    as_json = {"content_type": "application/json"}
    answers = {
        400: [ada.put(f"{PATH}/dropbox", {}), ada.get(f"{PATH}?status=x"), ada.patch(path, data=b"{", **as_json)],
        401: [web.test_client().get(PATH)],
        403: [member.put(f"{PATH}/confluence", {"enabled": False}), member.delete(f"{PATH}/{member.seeded()}")],
        404: [ada.get(f"{PATH}/{ada.user_id}"), ada.get("/api/nothing")],
        405: [ada.delete(PATH)],
        409: [ada.delete(path), ada.post(f"{path}/sync")],
        413: [ada.patch(path, data=b" " * 400_000, **as_json)],
        415: [ada.patch(path, data=b"{}", content_type="text/plain")],
        422: [ada.patch(path, {"name": 7}), ada.patch(path, {"config": {"pwd": "x"}}), ada.post(f"{path}/verify", {})],
    }  # fmt: skip

    for status, of_status in answers.items():
        for answer in of_status:
            assert answer.status_code == status
            assert set(answer.json) >= SHAPE
            assert all(isinstance(answer.json[key], str) and answer.json[key] for key in SHAPE)
            assert answer.content_type == "application/json"
            assert answer.headers["X-Request-ID"] == answer.json["request_id"]
            assert is_our_id(answer.json["request_id"])


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/data-source", f"{PATH}/x/y/z", "/console/nothing.js"])
def test_an_unknown_route_is_not_found(web: Flask, path: str) -> None:
    answer = Browser(web).get(path)

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", PATH, {"GET", "HEAD", "OPTIONS", "POST"}),
        ("GET", f"{PATH}/x/verify", {"OPTIONS", "POST"}),
        ("PUT", f"{PATH}/x/sync", {"OPTIONS", "POST"}),
        ("POST", f"{PATH}/x", {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/sse/tickets", {"OPTIONS", "POST"}),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(
    web: Flask, method: str, path: str, allowed: set[str]
) -> None:
    answer = Browser(web).call(method, path)

    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_what_nobody_expected_is_answered_without_its_detail(crashing: Flask) -> None:
    answer = crashing.test_client().get("/api/crash", headers={"X-Request-ID": "crash-7"})

    assert answer.status_code == 500
    assert answer.json == {
        "error": "Internal error",
        "message": "Something went wrong on our side; the request id finds it in our logs",
        "code": "internal_error",
        "request_id": "crash-7",
    }
    assert answer.headers["X-Request-ID"] == "crash-7"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_nobody_expected_is_logged_with_its_exception(crashing: Flask, caplog: pytest.LogCaptureFixture) -> None:
    crashing.test_client().get("/api/crash", headers={"X-Request-ID": "crash-8"})

    (event,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (event["event"], event["request_id"]) == ("unexpected_error", "crash-8")
    assert str(event["exc_info"]) == "the secret of the crash"


def test_a_dead_database_is_answered_without_its_address(web: Flask, another_app: Callable[..., Flask]) -> None:
    cut_off = another_app(database_url="postgresql://rita:of-the-database@127.0.0.1:9/rita")
    token = a_token(web)

    answer = cut_off.test_client().get(PATH, headers={"Authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")
    assert set(answer.json) == SHAPE
    assert "of-the-database" not in answer.text
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("given", ["press-1", "a", "x" * 128, "0:a.B_c-d", "01890a5d-ac96-774b-bcce-b302099a8057"])
def test_a_request_id_is_taken_and_answered(web: Flask, given: str) -> None:
    answer = Browser(web).get(f"{PATH}?status=x", headers={"X-Request-ID": given})

    assert answer.headers["X-Request-ID"] == given
    assert answer.json["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 129, "a b", 'a"b', "<script>", "ä", "a\tb", "{}", "$(reboot)", "a;b", "a/b", "%0d%0aX: y"]
)
def test_a_hostile_request_id_is_replaced(web: Flask, given: str) -> None:
    answer = Browser(web).get(f"{PATH}?status=x", headers={"X-Request-ID": given})

    assert is_our_id(answer.headers["X-Request-ID"])
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


def test_every_request_without_an_id_gets_another_one(web: Flask) -> None:
    ada = Browser(web)

    ids = {ada.get(PATH).headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3
