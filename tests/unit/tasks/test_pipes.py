"""How much a child's pipe holds, and so a request."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from tasks import pipes
from tasks.consumer import LARGEST_BATCH

# In bytes, of a message of the usual kind.
A_MESSAGE = 320


@pytest.fixture
def pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes are widened on Linux alone")
def test_a_pipe_is_widened_where_the_system_lets_it(pipe: int) -> None:
    assert pipes.widened(pipe) == fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == pipes.WIDE


def test_elsewhere_it_holds_as_much_as_it_does(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fcntl, "F_SETPIPE_SZ", raising=False)

    assert pipes.widened(pipe) == pipes.USUAL


def test_a_whole_batch_is_one_request_unless_a_childs_pipe_is_narrow() -> None:
    children = pipes.Pool.__new__(pipes.Pool)

    class ATaskPool:
        _pool = children

    assert pipes.largest_request(object()) >= LARGEST_BATCH * A_MESSAGE
    assert pipes.largest_request(ATaskPool()) == pipes.largest_request(object())

    children.request_pipe = pipes.USUAL

    assert pipes.largest_request(ATaskPool()) == 40 * 1024
