"""A web process and the connections that are open to it: it knows who has left, and a stop waits for nobody idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import requests

from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.e2e.scrapes import Page
from tests.waiting import eventually

NAME = "web apart"


@pytest.fixture
def port(rita: Processes) -> Iterator[int]:
    """The port of a web process of this test's own, whose heartbeats find out nothing."""
    chosen = free_port()
    rita.start("web", as_name=NAME, PORT=str(chosen), SSE_HEARTBEAT_SECONDS="60")
    yield chosen
    rita.children[NAME].kill()


@pytest.fixture
def open_streams(port: int) -> Callable[[], float]:
    page = Page(str(port))
    return lambda: page("rita_sse_clients")


def test_a_browser_that_leaves_is_forgotten_long_before_a_heartbeat(
    port: int, open_streams: Callable[[], float]
) -> None:
    ada = Person(f"http://{LOOPBACK}:{port}")
    with ada.stream() as stays:
        with ada.stream() as leaves:
            eventually(lambda: stays.events and leaves.events)
            assert open_streams() == 2

        eventually(lambda: open_streams() == 1, within=5)
        assert not stays.ended.is_set()


def test_a_stop_waits_for_no_connection_that_asks_nothing(rita: Processes, port: int) -> None:
    address = f"http://{LOOPBACK}:{port}"
    with requests.Session() as proxy, Person(address).stream() as stream:
        assert proxy.get(f"{address}/healthz", timeout=10).ok
        eventually(lambda: stream.events)
        began = time.monotonic()
        rita.stop(NAME)
        took = time.monotonic() - began

    # What it gives to requests that are being answered is five seconds.
    assert took < 3
