"""Tracebacks without what people sent: lines of code, and exceptions by their kind."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

# Whose texts are of code, never of what it works on: our own, and what Python says of names.
_OURS = ("app.", "tasks.", "devstack.")
_OF_CODE = (ImportError, AttributeError, NameError, RecursionError, MemoryError)
# What is said of a connection to one of our servers, and what those say of themselves. With other classes of the same
# libraries comes the value that a row or a message could not hold.
_OF_CONNECTIONS = frozenset({
    "kombu.exceptions.OperationalError", "psycopg2.OperationalError", "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError", "sqlalchemy.exc.OperationalError",
})  # fmt: skip
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def formatted(exc_info: ExcInfo | Any) -> str:
    """Return an exception's traceback as Python writes it, first causes first, without the texts of others."""
    return "\n\n".join(reversed(list(_parts(exc_info[1]))))


def said(problem: BaseException) -> str:
    """Return an exception's kind, and its text where it can hold nothing that anybody has sent."""
    kind = f"{type(problem).__module__}.{type(problem).__qualname__}".removeprefix("builtins.")
    if kind.startswith(_OURS) or isinstance(problem, _OF_CODE) or kind in _OF_CONNECTIONS:
        return f"{kind}: {problem}"
    if isinstance(problem, OSError) and problem.strerror:
        return f"{kind}: [Errno {problem.errno}] {problem.strerror}"
    return kind


def _parts(problem: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        lines = traceback.format_tb(problem.__traceback__)
        yield "".join(["Traceback (most recent call last):\n", *lines, said(problem)])
        if problem.__cause__ is not None:
            yield _CAUSE
        elif problem.__context__ is not None and not problem.__suppress_context__:
            yield _CONTEXT
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
