"""The issuer's key set when it is slow, away, wrong or changed: whose token waits, and for how long the keys count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask

from devstack.ports import free_port
from tests.factories import a_token
from tests.integration.api.test_keys import OTHER_KEYS, RSA, KeyServer, ask, listing
from tests.waiting import eventually

CACHE = "app.outbound.token_key_cache"
LONG_AGO = timedelta(microseconds=1)


@pytest.fixture
def issuer() -> Iterator[KeyServer]:
    with KeyServer() as server:
        yield server


@pytest.fixture
def sign(web: Flask) -> Callable[..., str]:
    """Make tokens that were not seen before: what was found of one is remembered."""
    claims = jwt.decode(a_token(web), options={"verify_signature": False})

    def signed(key: Any = RSA, **header: Any) -> str:
        return jwt.encode(claims | {"n": time.monotonic_ns()}, key, "RS256", headers={"kid": "one"} | header)

    return signed


@pytest.fixture
def app(another_app: Callable[..., Flask], issuer: KeyServer, sign: Callable[..., str]) -> Flask:
    """An application that has the keys."""
    made = another_app(jwt_secret=None, jwt_jwks_url=issuer.url)
    assert ask(made, sign()).status_code == 200
    return made


def timed(act: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return act(), time.monotonic() - started


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CACHE}.MIN_FETCH_INTERVAL", timedelta(0))


@pytest.mark.usefixtures("no_pause")
def test_good_tokens_do_not_wait_while_unknown_ones_have_the_keys_fetched(
    app: Flask, issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.outbound.jwks.TOTAL_TIMEOUT", timedelta(seconds=3))
    issuer.gate.clear()
    unknown = [sign(OTHER_KEYS["RS256"], kid=f"unknown-{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(ask, app, token) for token in unknown]
        eventually(lambda: issuer.asked == 2)

        answers, seconds = timed(lambda: [ask(app, sign()).status_code for _ in range(5)])

        assert answers == [200] * 5
        assert not any(future.done() for future in waiting)
        assert seconds < 2
        refused, waited = timed(lambda: [future.result() for future in waiting])

    assert {(one.status_code, one.json["code"]) for one in refused} == {(503, "service_unavailable")}
    assert waited < 10
    # Twenty at once cost the issuer one request.
    assert issuer.asked == 2


def test_a_failure_starts_the_pause_too(
    another_app: Callable[..., Flask], issuer: KeyServer, sign: Callable[..., str]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=issuer.url)
    issuer.status = 503

    refused = [ask(app, sign()).status_code for _ in range(20)]

    assert (set(refused), issuer.asked) == ({503}, 1)


def test_unknown_tokens_right_after_a_fetch_cost_the_issuer_nothing(
    app: Flask, issuer: KeyServer, sign: Callable[..., str]
) -> None:
    unknown = [sign(OTHER_KEYS["RS256"], kid=f"unknown-{number}") for number in range(20)]

    refused = [ask(app, token).status_code for token in unknown]

    assert (set(refused), issuer.asked) == ({401}, 1)


@pytest.mark.usefixtures("no_pause")
def test_a_token_of_a_new_key_is_taken_as_soon_as_it_is_listed(
    app: Flask, issuer: KeyServer, sign: Callable[..., str]
) -> None:
    issuer.content = listing(one=RSA, two=OTHER_KEYS["RS256"])

    assert ask(app, sign(OTHER_KEYS["RS256"], kid="two")).status_code == 200
    assert ask(app, sign()).status_code == 200
    assert issuer.asked == 2


def test_keys_in_use_are_fetched_anew_behind_the_back_of_those_who_use_them(
    app: Flask, issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CACHE}.BACKGROUND_REFRESH_AGE", LONG_AGO)
    issuer.gate.clear()

    answer, seconds = timed(lambda: ask(app, sign()))

    assert (answer.status_code, seconds < 2) == (200, True)
    eventually(lambda: issuer.asked == 2)
    issuer.gate.set()


@pytest.mark.parametrize("problem", ["away", "page"])
def test_old_keys_count_while_the_issuer_is_away(
    app: Flask, issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    monkeypatch.setattr(f"{CACHE}.KEYS_LIFETIME", LONG_AGO)
    issuer.status, issuer.content = (503, b"") if problem == "away" else (200, b"<html>")

    answers = [ask(app, sign()).status_code for _ in range(5)]

    assert answers == [200] * 5
    assert issuer.asked == 2


def test_the_keys_of_an_issuer_that_hangs_count_too(
    app: Flask, issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CACHE}.KEYS_LIFETIME", LONG_AGO)
    monkeypatch.setattr(f"{CACHE}.MAX_WAIT_FOR_FETCH", timedelta(seconds=0.2))
    issuer.gate.clear()

    # The first since they are old finds out, and nobody waits after that.
    assert ask(app, sign()).status_code == 200
    answers, seconds = timed(lambda: [ask(app, sign()).status_code for _ in range(5)])

    assert (answers, seconds < 2) == ([200] * 5, True)


@pytest.mark.usefixtures("no_pause")
def test_old_keys_do_not_count_for_ever(
    another_app: Callable[..., Flask], issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=issuer.url, jwt_jwks_stale_seconds="0.000001")
    assert ask(app, sign()).status_code == 200
    monkeypatch.setattr(f"{CACHE}.KEYS_LIFETIME", LONG_AGO)
    issuer.status = 503

    assert ask(app, sign()).json["code"] == "service_unavailable"

    issuer.status = 200
    assert ask(app, sign()).status_code == 200


def test_keys_that_the_issuer_takes_off_do_not_count_as_stale(
    app: Flask, issuer: KeyServer, sign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CACHE}.KEYS_LIFETIME", LONG_AGO)
    issuer.content = b'{"keys": []}'

    assert [ask(app, sign()).status_code for _ in range(2)] == [503] * 2


def test_whoever_comes_first_waits_for_the_keys_and_all_for_one_request(
    another_app: Callable[..., Flask], issuer: KeyServer, sign: Callable[..., str]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=issuer.url)
    issuer.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(ask, app, sign()) for _ in range(5)]
        eventually(lambda: issuer.asked == 1)
        issuer.gate.set()

        assert [future.result().status_code for future in waiting] == [200] * 5

    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("status", "content", "event", "words"),
    [
        (503, b"", "token_keys_away", "answers 503"),
        (429, b"", "token_keys_away", "answers 429"),
        (404, b"", "token_keys_misconfigured", "answers 404"),
        (302, b"", "token_keys_misconfigured", "answers 302"),
        (200, b" <!doctype html>", "token_keys_misconfigured", "a page (HTML)"),
        (200, b"", "token_keys_misconfigured", "not JSON"),
        (200, b"[" * 100_000, "token_keys_misconfigured", "not JSON"),
        (200, b"x" * 300_000, "token_keys_misconfigured", "more than 256 KiB"),
        (200, b'{"jwks_uri": "https://a.example/keys"}', "token_keys_misconfigured", "https://a.example/keys"),
        (200, b'{"keys": []}', "token_keys_misconfigured", "it is empty"),
        (200, b'{"keys": [{"kty": "oct", "k": "x"}]}', "token_keys_misconfigured", "not public"),
    ],
)
def test_the_log_and_the_answer_tell_a_mistake_from_an_outage(
    another_app: Callable[..., Flask],
    issuer: KeyServer,
    sign: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    status: int,
    content: bytes,
    event: str,
    words: str,
) -> None:
    issuer.status, issuer.content = status, content

    answer = ask(another_app(jwt_secret=None, jwt_jwks_url=issuer.url), sign())

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")
    assert ("try again" in answer.json["message"]) == (event == "token_keys_away")
    printed = capsys.readouterr()
    line = eventually(lambda: next((one for one in (printed.err + printed.out).splitlines() if event in one), None))
    assert words in line


def test_an_issuer_that_refuses_connections_is_away(
    another_app: Callable[..., Flask], sign: Callable[..., str]
) -> None:
    answer = ask(another_app(jwt_secret=None, jwt_jwks_url=f"http://127.0.0.1:{free_port()}/keys"), sign())

    assert "try again" in answer.json["message"]
