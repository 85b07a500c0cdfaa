"""Everything that a network does instead of answering: each has its verdict, its words, and its end in time."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from app.domain.retry import FAILURES, Failure, Outcome, Verdict
from tests.integration.outbound.sockets import (
    Peer,
    Stopped,
    dripping,
    endless,
    listening,
    overloaded,
    post,
    saying,
    silent,
)
from tests.receiver import Receiver

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
# The total limit of these tests is 1 s; the machine may be busy.
SOON = timedelta(seconds=2)


def assert_is(outcome: Outcome, failure: Failure) -> None:
    verdict, words = FAILURES[failure]
    assert (outcome.verdict, outcome.status_code, outcome.error) == (verdict, None, words)


def an_unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "é" * 70 + ".invalid"])
def test_a_host_that_no_name_server_knows_is_a_failure_of_dns(host: str) -> None:
    assert_is(post(f"http://{host}/"), Failure.DNS)


def test_a_port_where_nobody_listens_refuses() -> None:
    assert_is(post(f"http://127.0.0.1:{an_unused_port()}/"), Failure.REFUSED)


def test_a_host_that_does_not_take_the_connection_is_given_up_in_time() -> None:
    with overloaded() as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, Failure.CONNECT_TIMEOUT)
    assert timedelta(seconds=0.4) < outcome.duration < SOON


def test_a_receiver_that_says_nothing_is_given_up_in_time() -> None:
    with listening(silent) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, Failure.READ_TIMEOUT)
    assert timedelta(seconds=0.4) < outcome.duration < SOON


@pytest.mark.parametrize(
    "peer",
    [
        dripping(b"", b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 20),
        dripping(HEAD, b"x" * 100),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 20),
        dripping(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\n", b"x" * 100),
    ],
    ids=["the status line", "the headers", "the body", "the chunks", "the body of an error"],
)
def test_a_receiver_that_drips_is_cut_off_at_the_total_limit(peer: Peer) -> None:
    with listening(peer) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, Failure.TOTAL_TIMEOUT)
    assert timedelta(seconds=0.9) < outcome.duration < SOON


def test_a_receiver_that_reads_nothing_cannot_hold_a_large_post() -> None:
    def deaf(_: socket.socket, stopped: Stopped) -> None:
        stopped.wait()

    with listening(deaf) as address:
        outcome = post(f"http://{address}/", read=timedelta(seconds=30))

    assert outcome.verdict is Verdict.RETRY
    assert outcome.duration < SOON


def test_a_body_without_end_is_read_only_a_little() -> None:
    with listening(endless) as address:
        outcome = post(f"http://{address}/")

    assert (outcome.verdict, outcome.status_code) == (Verdict.DONE, 200)
    assert outcome.duration < timedelta(seconds=0.9)


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 2", HEAD + b"cut", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"],
    ids=["nothing", "half a status", "half a body", "half a chunk"],
)
def test_a_connection_that_closes_before_the_end_is_tried_again(said: bytes) -> None:
    with listening(saying(said)) as address:
        outcome = post(f"http://{address}/")

    assert outcome.verdict is Verdict.RETRY
    assert outcome.error


def test_a_connection_that_closes_without_a_word_is_told_as_that() -> None:
    with listening(saying(b"")) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, Failure.DISCONNECTED)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=lambda said: repr(said[:30]),
)
def test_an_answer_that_is_not_http_is_told_as_that(said: bytes) -> None:
    with listening(saying(said)) as address:
        outcome = post(f"http://{address}/")

    assert_is(outcome, Failure.RESPONSE_INVALID)


def test_after_a_failure_the_next_post_is_as_good_as_new(receiver: Receiver) -> None:
    with listening(dripping(HEAD, b"x" * 100)) as address:
        post(f"http://{address}/")

    outcome = post(receiver.url)

    assert outcome.verdict is Verdict.DONE
