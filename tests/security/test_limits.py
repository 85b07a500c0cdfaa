"""Rate limits: counted for the organization that a verified token names, whatever else the request says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from app.api.rate_limits import REDIS_KEY_PREFIX
from devstack.ports import free_port
from devstack.valkey import Valkey
from tests.factories import Browser, in_parallel, rows
from tests.waiting import eventually

PATH = "/api/data-sources"
LIMITS = {"verify_rate_limit": "3/minute", "sync_rate_limit": "3/minute", "ticket_rate_limit": "3/minute"} | {
    "change_rate_limit": "3/minute"
}
PRESSES = ["verify", "sync", "ticket", "change"]


@pytest.fixture
def limited(web: Flask, another_app: Callable[..., Flask]) -> Flask:
    """The application with three requests a minute, on rows that are forgotten afterwards."""
    assert web
    return another_app(**LIMITS)


def press(browser: Browser, kind: str, **options: Any) -> Any:
    """Press, on a connection that is not there: what is counted is the asking."""
    if kind == "ticket":
        return browser.post("/api/sse/tickets", **options)
    if kind == "change":
        return browser.patch(f"{PATH}/{browser.user_id}", {}, **options)
    return browser.post(f"{PATH}/{browser.user_id}/{kind}", {}, **options)


@pytest.mark.parametrize("kind", PRESSES)
def test_who_asks_too_often_is_told_when_to_come_back(limited: Flask, kind: str) -> None:
    ada = Browser(limited)

    answers = [press(ada, kind) for _ in range(5)]

    assert [answer.status_code == 429 for answer in answers] == [False] * 3 + [True] * 2
    refused = answers[-1]
    assert refused.json["code"] == "rate_limited"
    assert {"error", "message", "request_id"} <= set(refused.json)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.json["retry_after"] == int(refused.headers["Retry-After"])
    assert refused.headers["Retry-After"] in refused.json["message"]


@pytest.mark.parametrize("kind", PRESSES)
def test_another_organization_is_not_held_up(limited: Flask, kind: str) -> None:
    ada, eve = Browser(limited), Browser(limited)

    for _ in range(4):
        press(ada, kind)

    assert press(ada, kind).status_code == 429
    assert press(eve, kind).status_code != 429


def test_everybody_of_an_organization_is_counted_together(limited: Flask) -> None:
    ada = Browser(limited)
    people = [Browser(limited, organization_id=ada.organization_id, role="member") for _ in range(4)]

    answers = [press(person, "verify").status_code for person in people]

    assert answers == [404, 404, 404, 429]


def test_nothing_that_a_caller_may_choose_opens_another_account(limited: Flask) -> None:
    ada, eve = Browser(limited), Browser(limited)
    disguises: list[dict[str, Any]] = [
        {"headers": {"X-Forwarded-For": "192.0.2.7"}},
        {"headers": {"X-Organization-ID": str(eve.organization_id), "X-Real-IP": "192.0.2.8"}},
        {"query_string": {"organization_id": str(eve.organization_id)}},
        {"environ_base": {"REMOTE_ADDR": "192.0.2.9"}},
        {"headers": {"User-Agent": "another", "X-Request-ID": "another"}},
    ]

    answers = [press(ada, "ticket", **disguise).status_code for disguise in disguises]

    assert answers == [200, 200, 200, 429, 429]
    assert press(eve, "ticket").status_code == 200


def test_what_is_refused_changes_nothing(limited: Flask, redis: Redis) -> None:
    ada = Browser(limited)
    path = f"{PATH}/{ada.seeded()}/verify"
    for _ in range(3):
        ada.post(path, {})
    before = set(redis.scan_iter("rita:credentials:*"))

    answer = ada.post(path, {"credentials": {"api_token": "x"}})

    assert answer.status_code == 429
    assert rows(limited, "SELECT id FROM operations") == []
    assert set(redis.scan_iter("rita:credentials:*")) == before


def test_each_limit_has_an_account_of_its_own(limited: Flask) -> None:
    ada = Browser(limited)

    for _ in range(4):
        press(ada, "verify")

    assert press(ada, "sync").status_code == 404
    assert press(ada, "ticket").status_code == 200


def test_what_is_not_costly_is_not_limited(limited: Flask) -> None:
    ada = Browser(limited)

    assert {ada.get(PATH).status_code for _ in range(20)} == {200}


def test_who_is_not_signed_in_spends_nobodys_account(limited: Flask) -> None:
    nobody = limited.test_client()

    assert {nobody.post("/api/sse/tickets").status_code for _ in range(5)} == {401}


CHANGES = ["POST seed", "POST", "PUT", "PATCH", "DELETE", "POST end"]


def a_change(browser: Browser, call: str) -> Any:
    method, _, rest = call.partition(" ")
    paths = {"seed": f"{PATH}/seed", "end": f"/api/operations/{browser.user_id}/end"}
    path = paths.get(rest) or (PATH if method == "POST" else f"{PATH}/{browser.user_id}")
    return browser.call(method, path, {})


@pytest.mark.parametrize("call", CHANGES)
def test_every_kind_of_change_spends_the_same_account(limited: Flask, call: str) -> None:
    ada = Browser(limited)

    first = [press(ada, "change").status_code for _ in range(3)]
    refused = a_change(ada, call)

    assert first == [404] * 3
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")


def test_every_call_that_changes_something_says_that_it_may_be_refused(limited: Flask) -> None:
    document = limited.test_client().get("/api/openapi.json").json

    unlimited = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in ("post", "put", "patch", "delete") and "429" not in operation["responses"]
    ]
    assert unlimited == []


def test_the_window_moves(web: Flask, another_app: Callable[..., Flask]) -> None:
    assert web
    ada = Browser(another_app(ticket_rate_limit="2/second"))
    assert [press(ada, "ticket").status_code for _ in range(3)] == [200, 200, 429]

    eventually(lambda: press(ada, "ticket").status_code == 200, within=5)


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_hosts_whose_clocks_differ_count_together_and_say_how_long_to_wait(
    limited: Flask, redis: Redis, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    ada, right = Browser(limited), time.time

    with monkeypatch.context() as other_host:
        other_host.setattr("time.time", lambda: right() + shift)
        assert [press(ada, "ticket").status_code for _ in range(2)] == [200, 200]
    answers = [press(ada, "ticket") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    (account,) = redis.scan_iter(f"{REDIS_KEY_PREFIX}*{ada.organization_id}*")
    now = redis.time()[0]
    assert all(now - 60 <= float(moment) <= now + 1 for moment in redis.lrange(account, 0, -1))


def test_requests_at_once_are_counted_one_by_one(limited: Flask) -> None:
    ada = Browser(limited)

    def one(_: int) -> int:
        same = Browser(limited, organization_id=ada.organization_id)
        return int(press(same, "ticket").status_code)

    answers = in_parallel(8, one)

    assert sorted(answers) == [200] * 3 + [429] * 5


@pytest.mark.parametrize("kind", PRESSES)
def test_a_limit_that_is_off_counts_nothing(
    web: Flask, another_app: Callable[..., Flask], redis: Redis, kind: str
) -> None:
    assert web
    ada = Browser(another_app(**{f"{kind}_rate_limit": "off"}))

    assert 429 not in {press(ada, kind).status_code for _ in range(50)}
    assert list(redis.scan_iter(f"{REDIS_KEY_PREFIX}*{ada.organization_id}*")) == []


@pytest.fixture
def without_redis(web: Flask, another_app: Callable[..., Flask]) -> Flask:
    assert web
    return another_app(redis_url=f"redis://127.0.0.1:{free_port()}/0", **LIMITS)


def test_without_redis_requests_pass_and_it_is_said(without_redis: Flask, caplog: pytest.LogCaptureFixture) -> None:
    ada = Browser(without_redis)
    ada.put(f"{PATH}/websearch", {})
    path = f"{PATH}/{ada.connection('websearch')['id']}/sync"

    answers = [ada.post(path, {"force": True}).status_code for _ in range(5)]

    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    said = [event for event in events if event["event"] == "rate_limit_not_checked"]
    assert answers == [200] * 5
    assert [(event["limit"], event["level"]) for event in said] == [("change", "warning")] + [("sync", "warning")] * 5


def test_limits_hold_again_once_redis_is_back(web: Flask, another_app: Callable[..., Flask], tmp_path: Path) -> None:
    assert web
    with Valkey(tmp_path / "valkey", environ=os.environ) as valkey:
        ada = Browser(another_app(redis_url=valkey.url, **LIMITS))
        assert [press(ada, "verify").status_code for _ in range(4)] == [404, 404, 404, 429]
        valkey.stop()
        assert press(ada, "verify").status_code == 503
        valkey.start()

        assert [press(ada, "ticket").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_accounts_are_kept_no_longer_than_their_window(limited: Flask, redis: Redis) -> None:
    ada = Browser(limited)

    press(ada, "ticket")

    (account,) = redis.scan_iter(f"{REDIS_KEY_PREFIX}*{ada.organization_id}*")
    assert 0 < redis.ttl(account) <= 60
