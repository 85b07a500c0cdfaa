"""HTTP clients that cost little, so that the load leaves the machine to those who are measured."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Self

TIMEOUT = 30.0


class HttpError(Exception):
    """An answer that a measure cannot use."""


def request_bytes(method: str, path: str, *, token: str, body: bytes = b"") -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {token}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    """One connection that is kept, for answers that say their length."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, request: bytes) -> bytes:
        """Send a request and return the answer's body. Raises HttpError unless it is 200."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise HttpError((head + body[:500]).decode(errors="replace"))
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += self._receive()
        return body

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise HttpError("the server closed the connection")
        return received


@dataclass(frozen=True)
class Call:
    """One request of a load: when it was due, when its answer was there (both of the monotonic clock)."""

    number: int
    due: float
    done: float

    @property
    def seconds(self) -> float:
        """From when it was due, so that a server which falls behind cannot hide it."""
        return self.done - self.due


def offer(address: tuple[str, int], requests: Sequence[bytes], *, rate: float, clients: int = 32) -> list[Call]:
    """Send the requests at a steady rate whatever the answers take; return all of them."""
    began = time.monotonic() + 0.1
    numbers = count()
    lock = threading.Lock()

    def work(_: int) -> list[Call]:
        calls: list[Call] = []
        with Client(address) as client:
            while True:
                with lock:
                    number = next(numbers)
                if number >= len(requests):
                    return calls
                due = began + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                client.send(requests[number])
                calls.append(Call(number, due, time.monotonic()))

    return _together(work, clients)


def saturate(address: tuple[str, int], requests: Sequence[bytes], *, seconds: float, clients: int = 8) -> list[Call]:
    """Send the requests over and over, each client the next as soon as it has its answer."""
    ends = time.monotonic() + seconds

    def work(place: int) -> list[Call]:
        calls: list[Call] = []
        with Client(address) as client:
            for number in _round(place, len(requests), step=clients):
                due = time.monotonic()
                if due >= ends:
                    return calls
                client.send(requests[number])
                calls.append(Call(number, due, time.monotonic()))
        return calls

    return _together(work, clients)


def _round(first: int, size: int, *, step: int) -> Iterator[int]:
    return (number % size for number in count(first, step))


def _together(work: Callable[[int], list[Call]], clients: int) -> list[Call]:
    with ThreadPoolExecutor(clients) as threads:
        return [call for calls in threads.map(work, range(clients)) for call in calls]
