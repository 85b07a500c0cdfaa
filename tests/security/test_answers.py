"""Whoever answers a request of ours does not say how much of the answer is read."""

from __future__ import annotations

import http.client
import io
from datetime import datetime
from typing import Any, cast

import pytest

from app.domain import timestamps
from app.outbound.http_responses import FinalHttpResponse


class Socket:
    """What http.client asks of a socket: a file of what it receives."""

    def __init__(self, received: bytes) -> None:
        self.file = io.BytesIO(received)

    def makefile(self, *_: Any) -> io.BytesIO:
        return self.file


def an_answer(body: bytes) -> tuple[FinalHttpResponse, Socket]:
    opened = Socket(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    answer = FinalHttpResponse(cast("Any", opened))
    answer.begin()
    return answer, opened


def test_a_chunk_is_never_smaller_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"2\r\nok\r\n0\r\n\r\n"
    answer, opened = an_answer(body)
    monkeypatch.setattr(opened.file, "close", lambda: None)
    monkeypatch.setattr(http.client.HTTPResponse, "_read_next_chunk_size", lambda _: -2)

    with pytest.raises(http.client.IncompleteRead):
        answer.read(100)
    assert opened.file.read() == body


def test_what_follows_the_last_chunk_is_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    trailers = b"a: b\r\n" * 3 + b"\r\n"
    answer, opened = an_answer(b"2\r\nok\r\n0\r\n" + trailers)
    monkeypatch.setattr(opened.file, "close", lambda: None)

    assert answer.read(100) == b"ok"
    assert opened.file.read() == trailers


@pytest.mark.parametrize(
    "place", ["Europe/Berlin" + "/x" * 9, "Europe/" + "x" * 99, "Europe/Berlin ", "Europe//Berlin"]
)
def test_what_is_no_name_of_a_place_is_not_looked_for(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr(timestamps, "ZoneInfo", asked.append)

    with pytest.raises(ValueError, match="not known here"):
        timestamps.parse_timestamp({"date": datetime(2026, 11, 30).isoformat(), "timezone": place})  # noqa: DTZ001 - the zone is beside it

    assert asked == []
