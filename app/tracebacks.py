"""Tracebacks without what people sent: lines of code, and exceptions by their kind."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

# Whose texts are of code, never of what it works on: our own, and what Python says of names.
_OUR_PACKAGES = ("app.", "tasks.", "devstack.")
_SAFE_EXCEPTION_TYPES = (ImportError, AttributeError, NameError, RecursionError, MemoryError)
# What is said of a connection to one of our servers, and what those say of themselves. With other classes of the same
# libraries comes the value that a row or a message could not hold.
_SAFE_CONNECTION_EXCEPTIONS = frozenset({
    "kombu.exceptions.OperationalError", "psycopg2.OperationalError", "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError", "sqlalchemy.exc.OperationalError",
})  # fmt: skip
_CAUSE_HEADING = "The above exception was the direct cause of the following exception:"
_CONTEXT_HEADING = "During handling of the above exception, another exception occurred:"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def format_traceback(exc_info: ExcInfo | Any) -> str:
    """Return an exception's traceback as Python writes it, first causes first, without the texts of others."""
    return "\n\n".join(reversed(list(_traceback_parts(exc_info[1]))))


def describe_exception(exception: BaseException) -> str:
    """Return an exception's kind, and its text where it can hold nothing that anybody has sent."""
    kind = f"{type(exception).__module__}.{type(exception).__qualname__}".removeprefix("builtins.")
    is_ours = kind.startswith(_OUR_PACKAGES)
    if is_ours or isinstance(exception, _SAFE_EXCEPTION_TYPES) or kind in _SAFE_CONNECTION_EXCEPTIONS:
        return f"{kind}: {exception}"
    if isinstance(exception, OSError) and exception.strerror:
        return f"{kind}: [Errno {exception.errno}] {exception.strerror}"
    return kind


def _traceback_parts(exception: BaseException | None) -> Iterator[str]:
    visited: set[int] = set()
    while exception is not None and id(exception) not in visited:
        visited.add(id(exception))
        lines = traceback.format_tb(exception.__traceback__)
        yield "".join(["Traceback (most recent call last):\n", *lines, describe_exception(exception)])
        if exception.__cause__ is not None:
            yield _CAUSE_HEADING
        elif exception.__context__ is not None and not exception.__suppress_context__:
            yield _CONTEXT_HEADING
        exception = exception.__cause__ or (None if exception.__suppress_context__ else exception.__context__)
