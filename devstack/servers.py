"""The servers that the application needs: those the environment names, and private ones for the rest."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from devstack import rabbitmq
from devstack.child import Server, StartError
from devstack.databases import create_database
from devstack.postgres import PostgreSQL
from devstack.rabbitmq import RabbitMQ
from devstack.valkey import Valkey

DATABASE = "rita"

AnyServer = TypeVar("AnyServer", bound=Server)


@dataclass(frozen=True)
class Servers:
    """Where everything listens."""

    database_url: str
    migration_database_url: str
    redis_url: str
    rabbitmq_url: str
    # The superuser's address, where the PostgreSQL is a private one.
    admin_database_url: str | None
    # The address of whoever may do everything.
    admin_redis_url: str
    # The private ones.
    private: tuple[Server, ...]
    # One for each, that says what it is.
    sentences: tuple[str, ...]

    @property
    def environ(self) -> dict[str, str]:
        """The settings that lead the application there."""
        return {
            "DATABASE_URL": self.database_url,
            "MIGRATION_DATABASE_URL": self.migration_database_url,
            "REDIS_URL": self.redis_url,
            "RABBITMQ_URL": self.rabbitmq_url,
        }

    def wait(self) -> None:
        """Wait until the broker answers, too. Raises StartError."""
        for server in self.private:
            server.wait()


@contextmanager
def servers(directory: Path, *, environ: Mapping[str, str], keep: bool = True) -> Iterator[Servers]:
    """Start, under the directory, a private server for each that the environment does not name; stop them at the end.

    A private RabbitMQ takes seconds longer than the others: whoever needs the broker calls `wait` first. Without `keep`
    the data goes with them, and PostgreSQL need not be durable. Raises StartError, also when another process holds the
    directory.
    """
    if environ.get("MIGRATION_DATABASE_URL") and not environ.get("DATABASE_URL"):
        raise StartError("MIGRATION_DATABASE_URL is set and DATABASE_URL is not: set both, or neither.")
    directory = directory.absolute()
    with lock_directory(directory), ExitStack() as running:
        if not keep:
            running.callback(remove, directory)
        start = _Start(directory, environ=environ, keep=keep, running=running)
        redis_url, admin_redis_url = start.redis()
        # Before the database, which is there long before it.
        rabbitmq_url = start.broker()
        database_url, migration_database_url, admin_database_url = start.database()
        yield Servers(
            database_url=database_url,
            migration_database_url=migration_database_url,
            redis_url=redis_url,
            rabbitmq_url=rabbitmq_url,
            admin_database_url=admin_database_url,
            admin_redis_url=admin_redis_url,
            private=tuple(start.private),
            sentences=tuple(sorted(start.sentences)),
        )


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Make the directory and hold it against other processes. Raises StartError where one has it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("a+") as lock:
        try:
            # The kernel lets go of it however this process ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            message = f"Process {holder} is using {directory}: stop it first (Ctrl-C in its terminal)."
            raise StartError(message) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def remove(directory: Path) -> None:
    """Stop the private servers that an earlier run left there, and delete everything; for the holder."""
    PostgreSQL(directory / "postgres").remove()
    for name in ("valkey", "broker"):
        Valkey(directory / name).stop()
    RabbitMQ(directory / "rabbitmq", environ={}).stop()
    shutil.rmtree(directory)


@dataclass
class _Start:
    """The decisions, one for each kind of server."""

    directory: Path
    environ: Mapping[str, str]
    keep: bool
    running: ExitStack
    private: list[Server] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def database(self) -> tuple[str, str, str | None]:
        """Return the addresses of the application's role, of the owner and of a private superuser."""
        given = self.environ.get("DATABASE_URL")
        if given:
            self.sentences.append("PostgreSQL: the one in DATABASE_URL.")
            return given, self.environ.get("MIGRATION_DATABASE_URL") or given, None
        server = self._enter(PostgreSQL(self.directory / "postgres", durable=self.keep, environ=self.environ))
        self.sentences.append(f"PostgreSQL: a private one, on port {server.port}.")
        owner, application = server.passwords["owner"], server.passwords["application"]
        owner_url, application_url = create_database(
            server.url, name=DATABASE, owner_password=owner, application_password=application
        )
        return application_url, owner_url, server.url

    def redis(self) -> tuple[str, str]:
        """Return the address for events, tickets and encrypted credentials, none of which may reach a disk; twice.

        The second one is that of whoever may do everything.
        """
        given = self.environ.get("REDIS_URL")
        if given:
            self.sentences.append("Redis: the one in REDIS_URL.")
            return given, given
        server = self._enter(Valkey(self.directory / "valkey", environ=self.environ))
        self.sentences.append(f"Redis: a private Valkey, on port {server.port}.")
        return server.url, server.admin_url

    def broker(self) -> str:
        """Return the address of RabbitMQ, which is only on its way, or of what stands in for it."""
        given = self.environ.get("RABBITMQ_URL")
        if given:
            self.sentences.append("Broker: the one in RABBITMQ_URL.")
            return given
        if rabbitmq.is_installed(self.environ):
            node = self._launch(RabbitMQ(self.directory / "rabbitmq", environ=self.environ))
            self.sentences.append(f"Broker: a private RabbitMQ, on port {node.port}.")
            return node.url
        # One of its own: what waits in a broker is to outlive a restart, and what is in the other must not.
        valkey = self._enter(Valkey(self.directory / "broker", keeps=self.keep))
        what = f"Celery's Redis transport on a Valkey of its own, on port {valkey.port}"
        self.sentences.append(f"Broker: {what}, because there is no rabbitmq-server on the PATH.")
        return valkey.url

    def _enter(self, server: AnyServer) -> AnyServer:
        self.running.enter_context(server)
        self.private.append(server)
        return server

    def _launch(self, server: AnyServer) -> AnyServer:
        self.running.callback(server.stop)
        self.running.callback(_wait_until_started, server)
        server.launch()
        self.private.append(server)
        return server


def _wait_until_started(server: Server) -> None:
    """Wait for what is still on its way, whatever stops us: it is not to be stopped halfway."""
    if not server.has_answered:
        with suppress(StartError):
            server.wait()
