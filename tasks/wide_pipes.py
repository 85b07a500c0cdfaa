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
WIDE_PIPE_BYTES, DEFAULT_PIPE_BYTES = 256 * 1024, 64 * 1024


class WidePipeAsynPool(AsynPool):
    """Celery's own, whose pipes of requests are widened where the system allows it."""

    # Of the narrowest: which child gets a request is decided after the request was made.
    narrowest_pipe_bytes = WIDE_PIPE_BYTES

    def create_process_queues(self) -> Any:
        """Make the pipes of a new child."""
        queues = super().create_process_queues()
        self.narrowest_pipe_bytes = min(self.narrowest_pipe_bytes, widen_pipe(queues[0]._writer.fileno()))  # noqa: SLF001 - Celery does so
        return queues


class WidePipePool(prefork.TaskPool):
    """Celery's own of that."""

    Pool = WidePipeAsynPool


def widen_pipe(pipe_descriptor: int) -> int:
    """Widen a pipe, by its file descriptor, if the system lets it; return how many bytes it holds."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return DEFAULT_PIPE_BYTES
    try:
        return fcntl.fcntl(pipe_descriptor, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)
    except OSError:
        # This user's pipes hold as much as they may all together.
        return fcntl.fcntl(pipe_descriptor, fcntl.F_GETPIPE_SZ)


def max_batch_bytes(pool: object) -> int:
    """Return how many bytes of messages a request to a child may have.

    Its pipe's, less what their quotes need as part of a text, and the envelope. A pool of threads has no pipes.
    """
    pipe_bytes = getattr(getattr(pool, "_pool", None), "narrowest_pipe_bytes", WIDE_PIPE_BYTES)
    return pipe_bytes * 5 // 8
