"""What of a message on a queue of jobs is taken: the task, its arguments and an id. Nothing else of it is obeyed.

Whoever may publish to the broker's default exchange, as the external service must, may write to these queues. Celery
believes such a message: what to run afterwards and where to publish that, with this worker's rights, when to run it,
how it is compressed. And it counts on shapes: without this, a stranger's message could end the worker and, as it is
delivered again, each one after it. See decision 0033.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pydantic_core

from app.domain import texts
from app.domain.messages import raw_of
from app.outbound.broker import Message, say_task

# Ours have less than three hundred bytes.
LARGEST_JOB = 16 * 1024
# Of what a stranger's job calls itself, and of its arguments as Flower shows them.
LONGEST_NAME, LONGEST_SHOWN = 100, 500


class NotAJob(Exception):
    """The message asks for nothing that is done here; `fields` say why, for a line of the log."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        super().__init__(fields["reason"])


def take(message: Message, *, tasks: Mapping[str, Callable[..., object]]) -> None:
    """Leave of a message what a job of ours says; `tasks` are the functions, by name. Raises NotAJob."""
    headers = message.headers or {}
    task = headers.get("task")
    if not isinstance(task, str):
        raise NotAJob(reason="no job")
    if task not in tasks:
        raise NotAJob(reason="unknown task", name=texts.cut(task, longest=LONGEST_NAME))
    try:
        task_id = str(UUID(headers.get("id")))
    except (TypeError, ValueError, AttributeError):
        raise NotAJob(reason="invalid job", error="its id is no UUID") from None
    args, kwargs = _arguments(message)
    try:
        inspect.signature(tasks[task]).bind(*args, **kwargs)
    except TypeError:
        raise NotAJob(reason="invalid job", error="its arguments are not those of the task") from None
    reprs = tuple(texts.cut(repr(each), longest=LONGEST_SHOWN) for each in (args, kwargs))
    say_task(message, task, task_id, args=args, kwargs=kwargs, reprs=(reprs[0], reprs[1]))


def _arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    body = raw_of(message.body)
    if len(body) > LARGEST_JOB:
        raise NotAJob(reason="invalid job", error=f"longer than {LARGEST_JOB} bytes")
    try:
        content = pydantic_core.from_json(body)
    except ValueError:
        raise NotAJob(reason="undecodable") from None
    match content:
        case [list(args), dict(kwargs), _]:
            return args, kwargs
    raise NotAJob(reason="invalid job", error="not [arguments, named arguments, …]")
