"""The metrics of several processes as one: files of one directory, so that whichever is asked adds up all of them.

A group is gunicorn's processes, or a Celery worker with its children; see docs/decisions/0012. Counts belong to a slot
in the group rather than to a process: who takes the slot of one that died goes on from its counts.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import IO

from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.metrics import process_metrics

METRICS_DIRECTORY_PREFIX = "rita-figures-"

# In the directory of each group. Whoever of the group lives holds a lock on it, which ends with the last of them.
LIVENESS_LOCK_NAME = "living"


class _ProcessGroup:
    """Where this process's group keeps its metrics, and this process's place in it."""

    directory: str | None = None
    worker_slot: str = "main"
    liveness_lock: IO[bytes] | None = None


def share_with_forked_processes() -> None:
    """Keep the metrics in files from here on, for this process and those that it forks.

    To be called by the first process of a group before it forks and counts; what was counted before is forgotten.
    """
    _remove_directories_of_dead_groups()
    _ProcessGroup.directory = mkdtemp(prefix=METRICS_DIRECTORY_PREFIX)
    if _ProcessGroup.liveness_lock is not None:
        _ProcessGroup.liveness_lock.close()
    _ProcessGroup.liveness_lock = _create_liveness_lock(Path(_ProcessGroup.directory))
    atexit.register(_remove_directory_if_owner, _ProcessGroup.directory, owner_pid=os.getpid())
    # The only way in which the library takes it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _ProcessGroup.directory
    values.ValueClass = values.MultiProcessValue(lambda: _ProcessGroup.worker_slot)
    process_metrics.cache_clear()
    process_metrics()


def _create_liveness_lock(directory: Path) -> IO[bytes]:
    """Make the lock of a group; it has its name only once it is held, so that nobody finds it free."""
    unnamed = directory / f"{LIVENESS_LOCK_NAME}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(directory / LIVENESS_LOCK_NAME)
    return lock


def _remove_directories_of_dead_groups() -> None:
    """Remove what groups of this user's have left that were killed, to the last process."""
    for lock in Path(gettempdir()).glob(f"{METRICS_DIRECTORY_PREFIX}*/{LIVENESS_LOCK_NAME}"):
        with suppress(OSError):
            if lock.parent.lstat().st_uid == os.getuid():
                with lock.open("rb") as found:
                    fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(lock.parent, ignore_errors=True)


def _remove_directory_if_owner(directory: str, *, owner_pid: int) -> None:
    # A fork inherits what is to be done at the exit.
    if os.getpid() == owner_pid:
        shutil.rmtree(directory, ignore_errors=True)


def continue_counts_of_slot(slot: int) -> None:
    """Go on from the counts of whoever had this place in the group; to be called after the fork."""
    if _ProcessGroup.directory is not None:
        drop_gauges_of_slot(slot)
        _ProcessGroup.worker_slot = str(slot)


def drop_gauges_of_slot(slot: int) -> None:
    """Forget what the process at a place was holding when it ended: its clients, its connections."""
    if _ProcessGroup.directory is not None:
        mark_process_dead(slot, _ProcessGroup.directory)


def metric_collectors() -> list[Collector]:
    """Return what a page has to collect: this process's metrics, or the whole group's."""
    if _ProcessGroup.directory is not None:
        return [MultiProcessCollector(None, _ProcessGroup.directory)]
    return [process_metrics().registry]
