"""A batch of status messages as one request of Celery's: how it ends is said once, and nothing it holds is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from celery.exceptions import Ignore
from celery.worker.request import Request

log = structlog.get_logger()

APPLY_MESSAGES_TASK = "status.apply_messages"

# A message's place in its batch, the reason, and what more there is to say; none of them repeats the message.
RefusedMessages = Sequence[tuple[int, str, str]]


class SomeMessagesRefused(Ignore):
    """A batch is applied, but for some of its messages.

    An exception, because that is all of a task that reaches the worker's own process: of what it returns only a short
    description does. Raised in the child when everything else is committed.
    """

    def __init__(self, refusals: RefusedMessages) -> None:
        super().__init__(refusals)
        self.refusals = refusals


class BatchRequest(Request):
    """A batch that always settles: one that was terminated, too, says that it was not applied.

    Its acknowledgement is a function of the refusals.
    """

    acknowledged: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The body holds the messages already; here they would go through the pipe a second time.
        self._request_dict["args"] = ()
        self._refusals: RefusedMessages = ()

    def acknowledge(self) -> None:
        """Say that the batch is applied."""
        if not self.acknowledged:
            self._on_ack(self._refusals)
            self.acknowledged = True

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:
        # Celery acknowledges what is revoked, and takes for revoked what a child has begun that was told to end before.
        self.reject(requeue=True)
        log.warning("status_batch_revoked", task_id=self.id)
        super()._announce_revoked(*args, **kwargs)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Take down what was refused, and settle what Celery leaves open."""
        fault = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(fault, SomeMessagesRefused):
            self._refusals = fault.refusals
        super().on_failure(exc_info, *args, **kwargs)
        if not self.acknowledged:
            self.reject(requeue=True)
