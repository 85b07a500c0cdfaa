"""A host whose clock is wrong, for one process and what it starts: a library of a dozen lines before the system's own.

The wall clock alone is moved, while the process runs, too; the monotonic one, which nobody can set, is left.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.project import program

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
  char text[32] = "";
  int file = open(getenv("HOST_CLOCK"), O_RDONLY);
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *told) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, told);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) told->tv_sec += shift();
  return failed;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  told->tv_sec = now.tv_sec;
  told->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *told) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (told) *told = now.tv_sec;
  return now.tv_sec;
}
"""


@dataclass(frozen=True)
class HostClock:
    """The clock; `environ` is what a process needs to go by it."""

    environ: dict[str, str]
    file: Path

    def set_ahead(self, seconds: int) -> None:
        """Set it so far ahead of this host's, or behind."""
        written = self.file.with_suffix(".new")
        written.write_text(str(seconds))
        written.rename(self.file)


def a_host_clock(directory: Path) -> HostClock:
    """Make a clock that is right until it is set; without a compiler of C, skip the test or fail."""
    source, library, file = (directory / name for name in ("clock.c", "clock.so", "clock"))
    source.write_text(_SOURCE)
    compiler = program("cc", of="any compiler of C")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return HostClock({"LD_PRELOAD": str(library), "HOST_CLOCK": str(file)}, file)
