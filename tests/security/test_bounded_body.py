"""Bodies that come a piece at a time: what has come is held no longer than they may take in all."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from functools import partial

import gevent
import pytest

from app.api import bounded_body
from app.api.bounded_body import TimeLimitedBody, yield_before_pipelined_request
from tests.e2e.processes import Processes
from tests.project import PROJECT

# What the web server's worker makes of a request, in a process of its own: importing its settings changes the sockets.
SCRIPT = """
import runpy
import socket
from types import SimpleNamespace

from gunicorn.workers.ggevent import GeventWorker

made = runpy.run_path("gunicorn.conf.py")["worker_class"]
GeventWorker.handle_request = lambda self, listener, request, *_: print(type(request.body).__name__)
worker = object.__new__(made)
worker._idle = set()
made.handle_request(worker, "", SimpleNamespace(body=None), socket.socket(), "")
"""


class Dripping:
    """A body of which each piece comes soon."""

    def read(self, size: int | None = None) -> bytes:
        gevent.sleep(0.01)
        return b"x" if size else b""

    readline = read


def test_however_soon_each_piece_comes_all_of_them_end() -> None:
    body = TimeLimitedBody(Dripping(), time_limit=timedelta(seconds=0.2))

    with pytest.raises(TimeoutError):
        list(iter(partial(body.read, 1), b"the end"))
    with pytest.raises(TimeoutError):
        body.read(1)
    assert body.failed


def test_one_that_stops_midway_ends() -> None:
    class Stopped(Dripping):
        def read(self, size: int | None = None) -> bytes:
            gevent.sleep(3_600)
            return super().read(size)

    with pytest.raises(TimeoutError):
        TimeLimitedBody(Stopped(), time_limit=timedelta(seconds=0.05)).read(1)


def test_requests_that_come_one_behind_the_other_are_not_answered_alone() -> None:
    turns: list[int] = []
    beside = gevent.spawn(turns.append, 1)

    with yield_before_pipelined_request():
        pass
    assert turns == []
    with yield_before_pipelined_request():
        assert turns == [1]
    beside.join()


class AtOnce:
    """A body that never has to be waited for, though reading it takes time, and that does not end."""

    def __init__(self, *, takes: float = 0.0) -> None:
        self._takes = takes

    def read(self, size: int) -> bytes:
        time.sleep(self._takes)
        return b"x" * size


def test_one_that_comes_quickly_leaves_others_their_turns() -> None:
    turns: list[int] = []

    def other() -> None:
        while True:
            gevent.sleep(0)
            turns.append(1)

    beside = gevent.spawn(other)
    body = TimeLimitedBody(AtOnce(takes=0.0001), time_limit=timedelta(seconds=5))

    assert len(body.read(bounded_body.MAX_READ_BYTES)) == bounded_body.MAX_READ_BYTES
    beside.kill()
    assert len(turns) > 10


def test_one_without_end_ends() -> None:
    body = TimeLimitedBody(AtOnce(), time_limit=timedelta(seconds=5))

    assert len(body.read(bounded_body.MAX_READ_BYTES)) == bounded_body.MAX_READ_BYTES
    with pytest.raises(TimeoutError):
        body.read(1)
    assert body.failed


def test_nor_do_its_lines() -> None:
    class OfLines(AtOnce):
        def readline(self, _: int | None = None) -> bytes:
            return b"x" * 1023 + b"\n"

    with pytest.raises(TimeoutError):
        TimeLimitedBody(OfLines(), time_limit=timedelta(seconds=5)).readlines()


def test_the_web_server_reads_bodies_so(served: Processes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=PROJECT, env=served.environ, capture_output=True, text=True, check=False
    )

    assert done.stdout == "BoundedBody\n", done.stderr
