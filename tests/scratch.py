"""Where tests keep what goes with them: in memory, if there is enough of it.

Several servers that flush every message to one disk wait for each other there, and for whatever else is written to it:
a RabbitMQ was seen to answer nothing for ten seconds while npm unpacked its packages.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Linux' file system in memory.
MEMORY = Path("/dev/shm")  # noqa: S108 - every file in it gets a name of its own
# The servers of a run, the packages of npm and the profiles of browsers take a third of it.
ENOUGH = 6 * 1024**3


def in_memory() -> None:
    """Make temporary files, of this process and those that it starts, there; to be called before the first is made."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    may_run_programs = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if may_run_programs and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
