"""Which RabbitMQ a private node is of: the machine's own, or a newer release out of Debian's suites.

`TEST_RABBITMQ=4.3-quorum` names a release and the type of queue that its virtual host makes of a plain declaration.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack import debian
from devstack.child import StartError

# Not TEST_BROKER, which Celery's own test support takes for an address.
SETTING = "TEST_RABBITMQ"
CLASSIC, QUORUM = "classic", "quorum"
# Where a release is to be had; the first one is the machine's.
SUITES: Mapping[str, str | None] = {"3.10": None, "4.0": "trixie", "4.3": "forky"}
# RabbitMQ's scripts and the node itself call what no dependency brings: the shell, `df`, `hostname`, `getconf`.
PACKAGES = ("rabbitmq-server", "dash", "coreutils", "sed", "grep", "hostname", "libc-bin")
PACKAGED = Path("lib/rabbitmq")


@dataclass(frozen=True)
class Installation:
    """A RabbitMQ and its Erlang: the folder of its own scripts, and that of epmd."""

    scripts: Path
    erlang: Path
    # The /usr that its programs see instead of the machine's.
    usr: Path | None = None

    def server(self) -> list[str]:
        """Return the command that runs a node in the foreground."""
        return self._command(self.scripts / "rabbitmq-server")

    def control(self, *words: str) -> list[str]:
        """Return a command of rabbitmqctl's."""
        return self._command(self.scripts / "rabbitmqctl", *words)

    def port_mapper(self, *words: str) -> list[str]:
        """Return the command that runs epmd."""
        return self._command(self.erlang / "epmd", *words)

    def versions(self) -> tuple[str, str]:
        """Return RabbitMQ's and Erlang's, as the folders of a package say them."""
        usr = self.usr or Path("/usr")
        (erlang,) = (usr / "lib/erlang/releases").glob("*/OTP_VERSION")
        return _installed_versions(usr)[-1], erlang.read_text().strip()

    def _command(self, program: Path, *words: str) -> list[str]:
        return debian.command(self.usr, str(program), *words) if self.usr else [str(program), *words]


@dataclass(frozen=True)
class Combination:
    """A release and a type of queue; without a release it is whatever the machine has."""

    release: str | None
    queues: str

    def __str__(self) -> str:
        return f"{self.release}-{self.queues}"

    def installation(self, environ: Mapping[str, str]) -> Installation:
        """Return where it is installed, fetched first if need be. Raises StartError where it cannot be had."""
        suite = SUITES[self.release] if self.release else None
        if not suite or not self.release:
            return _installed_on_machine(environ.get("PATH", ""), release=self.release)
        folder = debian.cache_directory(environ) / f"rabbitmq-{self.release}"
        usr = debian.unpack_packages(PACKAGES, suite=suite, folder=folder)
        _require_release(usr, release=self.release, what=f"Debian's {suite}")
        return Installation(scripts=Path("/usr") / PACKAGED / "bin", erlang=Path("/usr/bin"), usr=usr)


_ALL = [Combination(release, queues) for release in SUITES for queues in (CLASSIC, QUORUM)]
COMBINATIONS = {str(combination): combination for combination in _ALL}


def select_combination(environ: Mapping[str, str]) -> Combination:
    """Return the combination that the environment names. Raises StartError for one that there is not."""
    name = environ.get(SETTING)
    if not name:
        return Combination(None, CLASSIC)
    if name not in COMBINATIONS:
        raise StartError(f"{SETTING}={name} is none of {', '.join(COMBINATIONS)}.")
    return COMBINATIONS[name]


def _installed_on_machine(path: str, *, release: str | None) -> Installation:
    found, erlang = shutil.which("rabbitmq-server", path=path), shutil.which("erl", path=path)
    if not found:
        raise StartError("There is no rabbitmq-server on the PATH.")
    if not erlang:
        raise StartError("RabbitMQ needs Erlang: there is no erl on the PATH.")
    script = Path(found).resolve()
    # Debian's and Fedora's is a wrapper that switches to the system's user or refuses.
    is_wrapper = script.name != "rabbitmq-server" or not script.with_name("rabbitmq-env").exists()
    packaged = Path("/usr") / PACKAGED / "bin" / "rabbitmq-server"
    if is_wrapper and packaged.exists():
        script = packaged
        if release:
            _require_release(Path("/usr"), release=release, what="This machine")
    elif release:
        raise StartError(f"Which RabbitMQ {found} is of cannot be told, so {release} is not tried.")
    return Installation(scripts=script.parent, erlang=Path(erlang).resolve().parent)


def _require_release(usr: Path, *, release: str, what: str) -> None:
    versions = _installed_versions(usr)
    if not any(version.startswith(f"{release}.") for version in versions):
        raise StartError(f"{what} has RabbitMQ {' and '.join(versions) or 'nowhere'}, not {release}.")


def _installed_versions(usr: Path) -> list[str]:
    return sorted(folder.name.partition("-")[2] for folder in (usr / PACKAGED / "lib").glob("rabbitmq_server-*"))
