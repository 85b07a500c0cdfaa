"""What a traceback says of each kind of exception."""

from __future__ import annotations

import json

import psycopg2
import pytest
from gunicorn.http.errors import ChunkMissingTerminator

from app import errors, tracebacks

SENT = "what somebody sent"


def raised(problem: BaseException) -> str:
    with pytest.raises(type(problem)) as caught:
        raise problem
    return tracebacks.format_traceback((caught.type, caught.value, caught.tb))


@pytest.mark.parametrize(
    "problem",
    [
        ValueError(SENT),
        KeyError(SENT),
        TypeError(SENT),
        json.JSONDecodeError(SENT, SENT, 0),
        UnicodeDecodeError("utf-8", SENT.encode(), 0, 1, SENT),
        ChunkMissingTerminator(SENT.encode()),
        psycopg2.DataError(SENT),
        OSError(SENT),
        FileNotFoundError(2, "No such file or directory", SENT),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_what_may_repeat_what_was_sent_is_told_by_its_kind(problem: BaseException) -> None:
    told = raised(problem)

    assert SENT not in told
    assert type(problem).__qualname__ in told.splitlines()[-1]
    assert "in raised" in told


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (errors.NotFound("No such thing"), "app.errors.NotFound: No such thing"),
        (psycopg2.OperationalError("server closed the connection"), "OperationalError: server closed the connection"),
        (ImportError("No module named x"), "ImportError: No module named x"),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: [Errno 111] Connection refused"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_cannot_is_told_whole(problem: BaseException, told: str) -> None:
    assert raised(problem).splitlines()[-1].endswith(told)


def test_a_chain_is_told_from_its_first_cause() -> None:
    first = ValueError(SENT)
    first.__cause__ = KeyError(SENT)

    told = raised(first)

    assert told.index("KeyError") < told.index("direct cause") < told.index("ValueError")
    assert SENT not in told


def test_a_chain_that_is_a_ring_ends() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one

    assert raised(one).count("KeyError") == 1
