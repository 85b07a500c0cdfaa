"""Celery's pool of processes with wider pipes, so that a whole batch of status messages is one request.

A request must fit the pipe to its child: one that is written in parts while the worker is told to stop may stay half
written, and the child would wait for the rest of it. Linux's pipes hold 64 KiB unless they are widened, a third of a
batch, and smaller batches make a message a tenth dearer.
"""

from __future__ import annotations

import fcntl
from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool

# In bytes; any user may have so much for a pipe (`fs.pipe-max-size` is a MiB), for a thousand pipes.
WIDE, USUAL = 256 * 1024, 64 * 1024


class Pool(AsynPool):
    """Celery's own, whose pipes of requests are widened where the system allows it."""

    # Of the narrowest: which child gets a request is decided after the request was made.
    request_pipe = WIDE

    def create_process_queues(self) -> Any:
        """Make the pipes of a new child."""
        queues = super().create_process_queues()
        self.request_pipe = min(self.request_pipe, widened(queues[0]._writer.fileno()))  # noqa: SLF001 - Celery does so
        return queues


class TaskPool(prefork.TaskPool):
    """Celery's own of that."""

    Pool = Pool


def widened(pipe: int) -> int:
    """Widen a pipe, by its file descriptor, if the system lets it; return how many bytes it holds."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return USUAL
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE)
    except OSError:
        # This user's pipes hold as much as they may all together.
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def largest_request(pool: object) -> int:
    """Return how many bytes of messages a request to a child may have.

    Its pipe's, less what their quotes need as part of a text, and the envelope. A pool of threads has no pipes.
    """
    pipe = getattr(getattr(pool, "_pool", None), "request_pipe", WIDE)
    return pipe * 5 // 8
