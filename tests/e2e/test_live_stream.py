"""The event stream as gunicorn serves it: what depends on greenlets, buffers and a real server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import requests
from redis import Redis

from app.outbound.events import _PUBLISH_SCRIPT, channel_of_organization
from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.e2e.browser import Person, Stream
from tests.e2e.processes import Processes
from tests.e2e.scrapes import Page
from tests.e2e.service import Service
from tests.factories import a_sync_message
from tests.waiting import eventually

BROWSERS = 50
# More than a pool of connections gives at once.
BURST = 150


def subscriptions(redis: Redis) -> int:
    """Return how many connections to this Redis wait for published events."""
    return sum(int(client["psub"]) > 0 for client in redis.client_list())


@pytest.mark.alone
def test_the_stream_answers_at_once_though_nothing_happens(ada: Person) -> None:
    ada.seeded()

    with ada.stream() as seen:
        eventually(lambda: seen.retry)
        waited = time.monotonic() - seen.opened_at

    assert seen.status == requests.codes.ok
    assert waited < 1
    assert seen.response.headers["Content-Type"].startswith("text/event-stream")
    assert seen.response.headers["Cache-Control"] == "no-store, no-transform"
    assert seen.response.headers["X-Accel-Buffering"] == "no"


def test_fifty_browsers_cost_redis_one_subscription_and_all_get_each_event(
    rita: Processes, ada: Person, own_redis: Redis, service: Service
) -> None:
    connection = ada.seeded()
    with ada.stream() as first, ExitStack() as opened:
        eventually(lambda: first.events)
        before = subscriptions(own_redis)
        streams = [opened.enter_context(ada.stream()) for _ in range(BROWSERS)]
        eventually(lambda: all(stream.events for stream in streams))

        service.send(a_sync_message(connection, "sync_started"))
        for stream in streams:
            stream.wait_for(lambda data: data.get("status") == "syncing")

        assert subscriptions(own_redis) == before
        assert all(len(stream.updates) == 1 for stream in streams)
    assert requests.get(f"{rita.base_url}/readyz", timeout=10).ok


def publish(redis: Redis, person: Person, numbers: Iterable[int]) -> None:
    """Publish events as Rita does, large ones."""
    script = redis.register_script(_PUBLISH_SCRIPT)
    for number in numbers:
        data = f'{{"number": {number}, "filler": "{"x" * 50_000}"}}'
        script(
            keys=[channel_of_organization(person.organization_id)],
            args=[1000, 3600, "data_source_update", data, "", ""],
        )


def numbers(stream: Stream) -> list[Any]:
    return [event.data["number"] for event in stream.updates]


def test_a_browser_that_sleeps_is_dropped_and_comes_back_to_a_snapshot(ada: Person, own_redis: Redis) -> None:
    """What it missed is megabytes, of which no more is kept than that it was."""
    ada.seeded()
    count, step = 400, 40

    with ada.stream() as awake, ada.stream(reads=False, receive_buffer=4096) as asleep:
        eventually(lambda: awake.events)
        for start in range(0, count, step):
            publish(own_redis, ada, range(start, start + step))
            eventually(lambda start=start: len(awake.updates) == start + step)
        asleep.read_on()
        assert asleep.ended.wait(20), "it was never dropped"
        seen = numbers(asleep)
        assert 0 < len(seen) < count

        with ada.stream(after=asleep.last_id) as again:
            eventually(lambda: again.events)
            publish(own_redis, ada, [count])
            eventually(lambda: again.updates)

    assert seen == list(range(len(seen)))
    assert again.events[0].type == "data_source_snapshot"
    assert again.events[0].id == awake.updates[count - 1].id
    assert numbers(again) == [count]


def test_a_stream_ends_when_its_token_does(rita: Processes) -> None:
    brief = Person(rita.base_url, lifetime=timedelta(seconds=3))

    with brief.stream() as seen:
        assert seen.ended.wait(10)

    assert "heartbeat" in seen.comments
    assert seen.comments[-1] == "the token has expired"


def test_all_browsers_that_come_at_once_to_a_new_process_get_their_stream(rita: Processes) -> None:
    port = str(free_port())
    rita.start("web", as_name="new web", PORT=port)
    ada = Person(f"http://{LOOPBACK}:{port}")
    ada.seeded()

    with ExitStack() as opened:
        # All are asked for before the first is read.
        asked = [
            opened.enter_context(socket.create_connection((LOOPBACK, int(port)), timeout=30)) for _ in range(BURST)
        ]
        for connection in asked:
            connection.sendall(request_for(ada, version="1.1"))
        answers = [received_until(connection, b"data_source_snapshot") for connection in asked]
    rita.stop("new web")

    assert [answer.split(b"\r\n", 1)[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * BURST


def test_a_browser_that_is_left_is_forgotten_though_nothing_happens(rita: Processes, ada: Person) -> None:
    page = Page(rita.environ["PORT"])
    # Those of earlier tests are still leaving.
    eventually(lambda: page("rita_sse_clients") == 0)
    with ada.stream() as seen:
        eventually(lambda: "heartbeat" in seen.comments)
        assert page("rita_sse_clients") == 1

    eventually(lambda: page("rita_sse_clients") == 0)


def test_an_old_proxy_gets_the_same_text_without_chunks(ada: Person, own_redis: Redis) -> None:
    ada.seeded()
    with socket.create_connection((LOOPBACK, int(ada.base_url.rpartition(":")[2])), timeout=10) as proxy:
        proxy.sendall(request_for(ada, version="1.0"))
        received_until(proxy, b"data_source_snapshot")
        publish(own_redis, ada, [1])
        told = received_until(proxy, b": heartbeat\n\n")

    assert b'"number": 1' in told
    assert b"\r\n" not in told


def request_for(person: Person, *, version: str) -> bytes:
    """Return a request for the person's stream as it goes over the wire."""
    lines = [f"GET /api/sse HTTP/{version}", "Host: rita", f"Authorization: {person.headers['Authorization']}", "", ""]
    return "\r\n".join(lines).encode()


def received_until(connection: socket.socket, wanted: bytes) -> bytes:
    """Return what a connection gives, up to and with what is wanted."""
    received = b""
    while wanted not in received:
        part = connection.recv(65536)
        assert part, received
        received += part
    return received
