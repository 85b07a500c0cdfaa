"""Many event streams, read by one thread: what reaches each client and when."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from bench.http import request_bytes
from bench.stage import Stage
from devstack.child import StartError, wait_until

Got = Callable[[bytes, float], None]
OPENED_WITHIN = 120.0
# Connections that are asked for at once: more than a server's backlog would be refused.
AT_ONCE = 200


class Streams:
    """Opens a stream for each request, and calls `got(event, moment)` for every event of any of them."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], got: Got, *, opened: bytes) -> None:
        self._address, self._requests, self._got = address, requests, got
        # What a stream has sent once it is open; nothing where a server sends nothing before the first event.
        self._opened = opened
        self._selector = selectors.DefaultSelector()
        self._pending: dict[socket.socket, bytes] = {}
        self._ready = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for number, request in enumerate(self._requests):
            self._open(request)
            if number % AT_ONCE == AT_ONCE - 1 and self._opened:
                self._wait(number + 1)
        if self._opened:
            self._wait(len(self._requests))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for opened in list(self._pending):
            opened.close()
        self._selector.close()

    def _open(self, request: bytes) -> None:
        opened = socket.create_connection(self._address, timeout=OPENED_WITHIN)
        opened.sendall(request)
        opened.settimeout(0)
        self._pending[opened] = b""
        self._selector.register(opened, selectors.EVENT_READ, data=[not self._opened])

    def _wait(self, count: int) -> None:
        deadline = time.monotonic() + OPENED_WITHIN
        while self._ready < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._ready} of {count} streams opened within {OPENED_WITHIN} s")
            time.sleep(0.01)

    def _read(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                self._take(key.fileobj, key.data)  # type: ignore[arg-type]

    def _take(self, opened: socket.socket, is_open: list[bool]) -> None:
        try:
            received = opened.recv(65536)
        except BlockingIOError:
            return
        moment = time.monotonic()
        if not received:
            self._selector.unregister(opened)
            return
        *blocks, self._pending[opened] = (self._pending[opened] + received).split(b"\n\n")
        for block in blocks:
            if not is_open[0] and self._opened in block:
                is_open[0] = True
                self._ready += 1
            self._got(block, moment)


@contextmanager
def watching(stage: Stage, organizations: Iterable[object], got: Got, *, line: str) -> Iterator[None]:
    """Open a stream for each organization at the line that serves them, and go on once all of them are live."""
    channels = [f"rita:sse:{organization}" for organization in organizations]
    requests = [
        request_bytes("GET", f"/api/sse?channel={channel}", token=stage.token(channel.rpartition(":")[2]))
        for channel in channels
    ]
    # Stock flask-sse sends nothing at all before the first event; Redis knows how many it has subscribed. Until then it
    # does not see, either, that a browser has left.
    wanted = subscriptions(stage) + len(channels)
    with Streams(stage.http, requests, got, opened=b": connected" if line == "web" else b""):
        if line != "web" and not wait_until(
            lambda: subscriptions(stage) == wanted, within=timedelta(seconds=OPENED_WITHIN)
        ):
            raise StartError("not all streams were subscribed")
        yield


def subscriptions(stage: Stage) -> int:
    """Return how many of Redis's connections listen; NUMSUB says nonsense while Valkey's table of channels grows."""
    return sum(client["sub"] != "0" or client["psub"] != "0" for client in stage.redis.client_list())
