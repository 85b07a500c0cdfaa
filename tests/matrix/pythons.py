"""The Python that tests run with: this one, or a release out of Debian's suites with an environment of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from devstack import debian
from devstack.child import StartError
from tests.project import PROJECT

# Where a release is to be had.
SUITES: Mapping[str, str] = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
# What tests start and no dependency brings: the shell, what a Procfile's lines name, what mounts another /usr; and the
# library that wheels of C++ rely on.
PACKAGES = ("dash", "coreutils", "grep", "sed", "hostname", "libc-bin", "util-linux", "mount", "libstdc++6")
LOCK = PROJECT / "locks/dev.txt"
INSTALLED_WITHIN = timedelta(minutes=8)


@dataclass(frozen=True)
class Python:
    """One release."""

    release: str

    def command(self) -> list[str]:
        """Return the command that runs it with what tests need, installed first if need be. Raises StartError."""
        if self.release == f"{sys.version_info.major}.{sys.version_info.minor}":
            return [sys.executable]
        cache = debian.cache_directory(os.environ)
        packages = (f"python{self.release}", f"python{self.release}-venv", *PACKAGES)
        usr = debian.unpack_packages(packages, suite=SUITES[self.release], folder=cache / f"python-{self.release}")
        # Clones with the same packages share one.
        key = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
        folder = cache / f"python-{self.release}-{key}"
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._install(usr, folder)
        return debian.command(usr, str(folder / "bin/python"))

    def _install(self, usr: Path, folder: Path) -> None:
        """Make the environment, unless it is there."""
        complete = folder / "complete"
        if complete.exists():
            return
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(LOCK))
        for words in (
            debian.command(usr, f"/usr/bin/python{self.release}", "-m", "venv", "--clear", str(folder)),
            debian.command(usr, str(folder / "bin/python"), *pip),
        ):
            try:
                subprocess.run(words, check=True, timeout=INSTALLED_WITHIN.total_seconds())
            except subprocess.SubprocessError as problem:
                raise StartError(f"its packages could not be installed: {problem}") from problem
        complete.touch()
