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
from app.domain.status_messages import body_bytes
from app.outbound.broker import Message, rewrite_as_task_message

# Ours have less than three hundred bytes.
MAX_JOB_BYTES = 16 * 1024
# Of what a stranger's job calls itself, and of its arguments as Flower shows them.
MAX_LOGGED_NAME_LENGTH, MAX_SHOWN_ARGUMENTS_LENGTH = 100, 500


class InvalidJob(Exception):
    """The message asks for nothing that is done here; `log_fields` say why, for a line of the log."""

    def __init__(self, **fields: Any) -> None:
        self.log_fields = fields
        super().__init__(fields["reason"])


def validate_and_rewrite_job(message: Message, *, functions_by_task_name: Mapping[str, Callable[..., object]]) -> None:
    """Leave of a message what a job of ours says; Raises InvalidJob."""
    headers = message.headers or {}
    task = headers.get("task")
    if not isinstance(task, str):
        raise InvalidJob(reason="no job")
    if task not in functions_by_task_name:
        raise InvalidJob(reason="unknown task", name=texts.truncate(task, max_length=MAX_LOGGED_NAME_LENGTH))
    try:
        task_id = str(UUID(headers.get("id")))
    except (TypeError, ValueError, AttributeError):
        raise InvalidJob(reason="invalid job", error="its id is no UUID") from None
    args, kwargs = _decode_arguments(message)
    try:
        inspect.signature(functions_by_task_name[task]).bind(*args, **kwargs)
    except TypeError:
        raise InvalidJob(reason="invalid job", error="its arguments are not those of the task") from None
    reprs = tuple(texts.truncate(repr(each), max_length=MAX_SHOWN_ARGUMENTS_LENGTH) for each in (args, kwargs))
    rewrite_as_task_message(message, task, task_id, args=args, kwargs=kwargs, reprs=(reprs[0], reprs[1]))


def _decode_arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    body = body_bytes(message.body)
    if len(body) > MAX_JOB_BYTES:
        raise InvalidJob(reason="invalid job", error=f"longer than {MAX_JOB_BYTES} bytes")
    try:
        content = pydantic_core.from_json(body)
    except ValueError:
        raise InvalidJob(reason="undecodable") from None
    match content:
        case [list(args), dict(kwargs), _]:
            return args, kwargs
    raise InvalidJob(reason="invalid job", error="not [arguments, named arguments, …]")
