"""A web process and the connections that are open to it: it knows who has left, and a stop waits for nobody idle."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

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
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as proxy, ThreadPoolExecutor() as beside:
        proxy.request("GET", "/healthz")
        assert proxy.getresponse().read()
        stopped = beside.submit(rita.stop, NAME)
        began = time.monotonic()
        rest = proxy.sock.recv(1)
        took = time.monotonic() - began
        stopped.result()

    assert rest == b""
    # What it gives to requests that are being answered is five seconds.
    assert took < 3
