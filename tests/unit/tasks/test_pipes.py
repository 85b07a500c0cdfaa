"""How much a child's pipe holds, and so a request."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from tasks import wide_pipes
from tasks.consumer import MAX_BATCH_MESSAGES

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
    assert wide_pipes.widen_pipe(pipe) == fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == wide_pipes.WIDE_PIPE_BYTES


def test_elsewhere_it_holds_as_much_as_it_does(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fcntl, "F_SETPIPE_SZ", raising=False)

    assert wide_pipes.widen_pipe(pipe) == wide_pipes.DEFAULT_PIPE_BYTES


def test_a_whole_batch_is_one_request_unless_a_childs_pipe_is_narrow() -> None:
    children = wide_pipes.WidePipeAsynPool.__new__(wide_pipes.WidePipeAsynPool)

    class ATaskPool:
        _pool = children

    assert wide_pipes.max_batch_bytes(object()) >= MAX_BATCH_MESSAGES * A_MESSAGE
    assert wide_pipes.max_batch_bytes(ATaskPool()) == wide_pipes.max_batch_bytes(object())

    children.narrowest_pipe_bytes = wide_pipes.DEFAULT_PIPE_BYTES

    assert wide_pipes.max_batch_bytes(ATaskPool()) == 40 * 1024
