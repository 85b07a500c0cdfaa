"""Everything that a network does instead of answering: each has its verdict, its words, and its end in time."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from app.domain.retry import VERDICT_AND_TEXT_BY_FAILURE, AttemptFailure, AttemptOutcome, RetryVerdict
from tests.integration.outbound.sockets import (
    Peer,
    Stopped,
    dripping,
    endless,
    listening,
    overloaded,
    post,
    saying,
    saying_and_cutting,
    silent,
    stopping,
)
from tests.receiver import Receiver

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
# The total limit of these tests is 1 s; the machine may be busy.
SOON = timedelta(seconds=2)


def assert_is(outcome: AttemptOutcome, failure: AttemptFailure) -> None:
    verdict, words = VERDICT_AND_TEXT_BY_FAILURE[failure]
    assert (outcome.verdict, outcome.status_code, outcome.error) == (verdict, None, words)


def an_unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "é" * 70 + ".invalid"])
def test_a_host_that_no_name_server_knows_is_a_failure_of_dns(host: str) -> None:
    assert_is(post(f"http://{host}/"), AttemptFailure.DNS)


def test_a_port_where_nobody_listens_refuses() -> None:
    assert_is(post(f"http://127.0.0.1:{an_unused_port()}/"), AttemptFailure.REFUSED)


def test_a_host_that_does_not_take_the_connection_is_given_up_in_time() -> None:
    with overloaded() as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.CONNECT_TIMEOUT)
    assert timedelta(seconds=0.4) < outcome.duration < SOON


def test_a_receiver_that_says_nothing_is_given_up_in_time() -> None:
    with listening(silent) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.READ_TIMEOUT)
    assert timedelta(seconds=0.4) < outcome.duration < SOON


@pytest.mark.parametrize(
    "peer",
    [
        dripping(b"", b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100),
        dripping(b"HTTP/1.1 103 Early Hints\r\n", b"X: y\r\n" * 20),
        dripping(b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"),
    ],
    ids=["the status line", "the headers of an interim answer", "a second interim answer"],
)
def test_a_receiver_that_drips_is_cut_off_at_the_total_limit(peer: Peer) -> None:
    with listening(peer) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.TOTAL_TIMEOUT)
    assert timedelta(seconds=0.9) < outcome.duration < SOON


def test_a_receiver_that_reads_nothing_cannot_hold_a_large_post() -> None:
    def deaf(_: socket.socket, stopped: Stopped) -> None:
        stopped.wait()

    with listening(deaf) as address:
        outcome = post(f"http://{address}/", read_timeout=timedelta(seconds=30))

    assert outcome.verdict is RetryVerdict.RETRY
    assert outcome.duration < SOON


def test_a_body_without_end_is_read_only_a_little() -> None:
    with listening(endless) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code) == (RetryVerdict.DONE, 200)
    assert outcome.duration < timedelta(seconds=0.9)


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "peer",
    [
        saying(HEAD + b"cut"),
        saying(HEAD),
        saying(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"zz\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"5\r\nab"),
        saying(b"HTTP/1.1 200 OK\r\n" + CHUNKED),
        saying(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nX: cut"),
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + CHUNKED + b"zz"),
        saying(b"HTTP/1.1 200 OK\r\n: no name\r\nno colon\r\n\xff\x00: \xfe\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nSet-Cookie: =;;\r\nContent-Type: ;charset=;\r\nLocation: http://[\r\n\r\n"),
        saying(b"HTTP/1.1 200\r\n\r\n"),
        saying(b"HTTP/2.0 200 OK\r\n\r\n"),
        saying_and_cutting(b"HTTP/1.1 200 OK\r\nX: y"),
        stopping(b"HTTP/1.1 200 OK\r\nX: y"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 20),
        dripping(HEAD, b"x" * 100),
        dripping(b"HTTP/1.1 200 OK\r\n" + CHUNKED, b"1\r\nx\r\n" * 20),
    ],
    ids=[
        "half a body", "no body", "no chunk", "half a chunk", "no chunks", "no gzip", "no brotli", "no length",
        "a negative length", "too short a length", "half the headers", "a header of 70 kB", "200 headers",
        "two lengths", "two lengths in one", "a length and chunks", "no headers at all", "odd headers", "no reason",
        "another version", "cut headers", "headers that stop", "dripping headers", "a dripping body",
        "dripping chunks",
    ],
)  # fmt: skip
def test_a_success_is_done_whatever_becomes_of_its_body(peer: Peer) -> None:
    with listening(peer) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code, outcome.error) == (RetryVerdict.DONE, 200, None)
    assert not outcome.service_down
    assert outcome.duration < SOON


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\ncut", 500),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Encoding: gzip\r\n\r\nabc", 429),
        (b"HTTP/1.1 422 No\r\n" + CHUNKED + b"zz", 422),
        (b"HTTP/1.1 401 No\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 401),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 1\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nabc", 429),
    ],
    ids=lambda value: repr(value)[:34],
)
def test_a_refusal_is_judged_by_its_status_whatever_becomes_of_its_body(said: bytes, status: int) -> None:
    with listening(saying(said)) as address:
        outcome = post(f"http://{address}/")

    assert outcome.status_code == status
    assert outcome.retry_after == (timedelta(seconds=7) if status == 429 else None)


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [
        INTERIM,
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 199 Of A Later Day\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM * 3,
        INTERIM * 20,
    ],
    ids=lambda said: repr(said[:30]),
)
@pytest.mark.parametrize(
    ("final", "verdict"), [(202, RetryVerdict.DONE), (503, RetryVerdict.RETRY), (401, RetryVerdict.FINAL)]
)
def test_interim_answers_are_passed_over(interim: bytes, final: int, verdict: RetryVerdict) -> None:
    with listening(saying(interim + b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % final)) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code) == (verdict, final)


def test_interim_answers_without_end_are_no_answer() -> None:
    def hinting(connection: socket.socket, stopped: Stopped) -> None:
        connection.recv(65536)
        while not stopped.is_set():
            connection.sendall(INTERIM)

    with listening(hinting) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.RESPONSE_INVALID)


def test_an_upgrade_that_nobody_asked_for_is_an_answer() -> None:
    with listening(saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code) == (RetryVerdict.RETRY, 101)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 2", INTERIM, INTERIM + b"HTTP/1.1 2"], ids=["nothing", "half a status", "a hint", "both"]
)
def test_a_connection_that_closes_before_the_answer_is_tried_again(said: bytes) -> None:
    with listening(saying(said)) as address:
        outcome = post(f"http://{address}/")

    assert outcome.verdict is RetryVerdict.RETRY
    assert outcome.error


def test_a_connection_that_closes_without_a_word_is_told_as_that() -> None:
    with listening(saying(b"")) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.DISCONNECTED)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
    ],
    ids=lambda said: repr(said[:30]),
)
def test_an_answer_that_is_not_http_is_told_as_that(said: bytes) -> None:
    with listening(saying(said)) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, AttemptFailure.RESPONSE_INVALID)


def test_after_a_failure_the_next_post_is_as_good_as_new(receiver: Receiver) -> None:
    with listening(dripping(HEAD, b"x" * 100)) as address:
        post(f"http://{address}/")

    outcome = post(receiver.url)

    assert outcome.verdict is RetryVerdict.DONE
