"""Requests that are no HTTP, with credentials in them: refused by the server that we run, and repeated in no log."""

from __future__ import annotations

import json
import socket
from uuid import uuid4

import pytest

from app.api.bounded_head import MAX_HEAD_BYTES
from tests.e2e.browser import Person
from tests.e2e.processes import Processes

WORD = f"canary{uuid4().hex}"
TICKET = f"GET /api/sse?ticket={WORD}"
BODY = json.dumps({"credentials": {"api_token": WORD}}).encode()
# So many lines with it are more than a head may have, by less than the server reads in one go.
LINES = MAX_HEAD_BYTES // len(f"X-Token: {WORD}\r\n") + 2
CHUNK = b"%X\r\n%b\r\n" % (len(BODY), BODY)
# What stands where a chunk's frame, its size or the body's end should: of a body in the wrong place.
CHUNKED = {
    "no-size": BODY,
    "a-size-that-is-too-small": b"5\r\n%b\r\n0\r\n\r\n" % BODY,
    "a-size-that-is-too-large": b"FFFF\r\n%b\r\n0\r\n\r\n" % BODY,
    "a-size-of-letters": b"%b\r\n%b\r\n0\r\n\r\n" % (WORD.encode(), BODY),
    "a-negative-size": b"-1\r\n%b\r\n0\r\n\r\n" % BODY,
    "an-extension-that-is-none": b"5;=%b\r\n%b\r\n0\r\n\r\n" % (WORD.encode(), BODY),
    "no-end-after-a-chunk": b"%X\r\n%bXX" % (len(BODY), BODY) + BODY,
    "no-last-chunk": CHUNK,
    "a-trailer-that-is-none": CHUNK + b"0\r\n%b\r\n\r\n" % WORD.encode(),
    "a-trailer-with-a-bare-line-feed": CHUNK + b"0\r\nX: %b\n\r\n" % WORD.encode(),
}
# Beginnings of requests that are refused before anybody is asked who makes them.
HEADS = {
    "a-version-that-is-none": f"{TICKET} HTTP/x.y\r\nHost: x\r\n\r\n",
    "no-version": f"{TICKET}\r\nHost: x\r\n\r\n",
    "a-method-that-is-none": f"{WORD}[] /api/data-sources HTTP/1.1\r\nHost: x\r\n\r\n",
    "a-method-before-a-ticket": f"g(t /api/sse?ticket={WORD} HTTP/1.1\r\nHost: x\r\n\r\n",
    "blanks-in-the-path": f"GET /api/sse?ticket={WORD} x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a-line-without-end": f"GET /api/sse?ticket={WORD}{'x' * 4_200} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a-header-without-colon": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {WORD}\r\n\r\n",
    "a-blank-before-the-colon": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {WORD}\r\n\r\n",
    "a-folded-header": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n {WORD}\r\n\r\n",
    "a-control-in-a-header": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WORD}\x01\x00\r\n\r\n",
    "a-header-that-is-too-long": f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WORD}{'x' * 9_000}\r\n\r\n",
    "too-many-headers": "GET / HTTP/1.1\r\nHost: x\r\n" + f"X-Token: {WORD}\r\n" * 200 + "\r\n",
    "a-name-of-none": f"GET / HTTP/1.1\r\nHost: x\r\nAuthor({WORD}): x\r\n\r\n",
    "a-length-that-is-none": f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {WORD}\r\n\r\n",
    "a-coding-that-is-none": f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {WORD}\r\n\r\n",
    "more-lines-than-any-honest-head": "GET / HTTP/1.1\r\nHost: x\r\n" + f"X-Token: {WORD}\r\n" * LINES,
    "an-expectation-that-is-none": f"POST / HTTP/1.1\r\nHost: x\r\nExpect: {WORD}\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.fixture(scope="module")
def ada(served: Processes) -> Person:
    person = Person(served.base_url)
    person.seeded()
    return person


def exchanged(served: Processes, request: bytes) -> bytes:
    """Send bytes to the server and return its answer, up to the end of the connection: nothing is read after it."""
    with socket.create_connection(("127.0.0.1", int(served.environ["PORT"])), timeout=20) as opened:
        opened.sendall(request)
        opened.shutdown(socket.SHUT_WR)
        received = b""
        while part := opened.recv(65536):
            received += part
    return received


def repeated(served: Processes) -> list[str]:
    return [line for line in served.all_logs().splitlines() if WORD in line]


@pytest.mark.parametrize("frame", CHUNKED)
def test_a_body_in_wrong_frames_is_answered_400_and_logged_nowhere(served: Processes, ada: Person, frame: str) -> None:
    path = f"/api/data-sources/{ada.connection('confluence')['id']}/verify"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    answer = exchanged(served, head.encode() + CHUNKED[frame])

    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b'"code":"malformed_body"' in answer
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing of a body may be taken for another request"
    assert ada.connection("confluence")["status"] == "idle"
    assert repeated(served) == []


@pytest.mark.parametrize("head", HEADS)
def test_a_request_that_is_none_is_refused_and_logged_nowhere(served: Processes, head: str) -> None:
    before = served.all_logs()

    answer = exchanged(served, HEADS[head].encode())

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 417 ", b"HTTP/1.1 431 ", b"HTTP/1.1 501 "))
    assert "Invalid request from ip: gunicorn.http.errors." in served.all_logs().removeprefix(before), (
        "it is said that there was one"
    )
    assert repeated(served) == []


def test_a_body_that_ends_early_is_answered_400(served: Processes, ada: Person) -> None:
    path = f"/api/data-sources/{ada.connection('confluence')['id']}/verify"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY) + 10}\r\n\r\n"
    )

    answer = exchanged(served, head.encode() + BODY)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert repeated(served) == []
