"""A Redis that takes connections and says nothing, as one that is stopped or swaps: nobody waits for it for long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from app import redis_pool
from app.config import Settings
from devstack.valkey import Valkey
from tests.factories import Browser
from tests.faults.proxy import Proxy
from tests.waiting import eventually

PATH = "/api/data-sources"
# A press asks Redis two or three times, and its command may be tried twice.
PATIENCE = 8.0
CREDENTIALS = {"credentials": {"api_token": "a-token"}}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis of this test's own, running again when the test ends."""
    with Valkey(tmp_path / "valkey", environ=os.environ) as started:
        yield started
        started.child.family()[0].resume()


@pytest.fixture
def ada(web: Flask, another_app: Callable[..., Flask], valkey: Valkey) -> Browser:
    """Somebody whose web has been asking that Redis."""
    assert web
    person = Browser(another_app(redis_url=valkey.url))
    person.seeded()
    person.put(f"{PATH}/websearch", {})
    assert person.post("/api/sse/tickets").status_code == 200
    return person


def timed(act: Callable[[], Any]) -> tuple[int, float]:
    began = time.monotonic()
    return act().status_code, time.monotonic() - began


PRESSES: dict[str, tuple[int, Callable[[Browser], Any]]] = {
    "sync": (200, lambda ada: ada.post(f"{PATH}/{ada.connection('websearch')['id']}/sync")),
    "configure": (200, lambda ada: ada.put(f"{PATH}/confluence", {"name": "Wiki"})),
    "verify": (503, lambda ada: ada.post(f"{PATH}/{ada.connection()['id']}/verify", CREDENTIALS)),
    "ticket": (503, lambda ada: ada.post("/api/sse/tickets")),
}


@pytest.mark.alone
@pytest.mark.parametrize("press", PRESSES)
def test_a_press_is_answered_soon_while_redis_hangs_and_as_ever_afterwards(
    press: str, ada: Browser, valkey: Valkey
) -> None:
    expected, act = PRESSES[press]
    server = valkey.child.family()[0]
    server.suspend()

    status, took = timed(lambda: act(ada))
    _, took_next = timed(lambda: ada.post("/api/sse/tickets"))
    server.resume()

    assert (status, took < PATIENCE) == (expected, True), took
    assert took_next < redis_pool.FAIL_FAST_SECONDS, "it was waited for again at once"
    eventually(lambda: ada.post("/api/sse/tickets").status_code == 200)


@pytest.mark.alone
def test_a_connection_that_died_unnoticed_costs_a_pause_and_no_press(
    web: Flask, another_app: Callable[..., Flask], settings: Settings
) -> None:
    assert web
    parts = urlsplit(settings.redis_url)
    with Proxy(parts.port or 6379) as proxy:
        ada = Browser(
            another_app(
                redis_url=parts._replace(netloc=parts.netloc.replace(str(parts.port), str(proxy.port))).geturl()
            )
        )
        connection = ada.seeded()
        assert proxy.links > 0
        proxy.abandon("server")

        status, took = timed(lambda: ada.post(f"{PATH}/{connection}/verify", CREDENTIALS))

    assert (status, took < PATIENCE) == (200, True), took
