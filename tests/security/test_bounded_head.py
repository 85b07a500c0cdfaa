"""Heads and trailers that go on and on: no more of them is taken than any honest one has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.parser import RequestParser

from app.api.bounded_head import MAX_HEAD_BYTES, BoundedRequest

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
LINES = b"a: b\r\n" * 100
PIECE = len(LINES)


class Parser(RequestParser):  # type: ignore[misc]
    mesg_class = BoundedRequest


class Sent:
    """What a client sends after its beginning, without end, and how much of it was taken."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        yield self._beginning
        while self.taken < 100 * MAX_HEAD_BYTES:
            self.taken += PIECE
            yield LINES


def test_of_a_head_that_does_not_end_so_much_is_taken() -> None:
    sent = Sent(HEAD)

    with pytest.raises(LimitRequestHeaders):
        next(Parser(Config(), iter(sent), None))

    assert sent.taken <= MAX_HEAD_BYTES + PIECE


def test_of_trailers_that_do_not_end_so_much_is_taken() -> None:
    sent = Sent(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
    request = next(Parser(Config(), iter(sent), None))

    with pytest.raises(LimitRequestHeaders):
        request.body.read()

    assert sent.taken <= MAX_HEAD_BYTES + PIECE


def test_a_long_token_and_the_cookies_of_others_pass() -> None:
    lines = [f"Authorization: Bearer {'x' * 8_000}", *(f"Cookie: {number}={'y' * 4_000}" for number in range(10))]
    request = next(Parser(Config(), iter([HEAD + "\r\n".join([*lines, "", ""]).encode()]), None))

    assert len(request.headers) == 1 + len(lines)
