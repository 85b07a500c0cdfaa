"""Where every contestant plays: private, durable servers, the lines of our Procfile and of the peers'."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
import psutil  # type: ignore[import-untyped]
import psycopg2
from cryptography.fernet import Fernet
from honcho.environ import parse_procfile
from redis import Redis

from bench.quiet import Quiet
from devstack import brokers
from devstack.child import LOOPBACK, Child, StartError
from devstack.databases import create_database, drop_database
from devstack.ports import free_port
from devstack.postgres import PostgreSQL
from devstack.servers import Servers, lock_directory, remove, servers

PROJECT = Path(__file__).resolve().parent.parent
PEERS: dict[str, str] = dict(parse_procfile((PROJECT / "bench" / "peers" / "Procfile").read_text()).processes)
READY_WITHIN = timedelta(minutes=2)
PROBE = 5.0
# Lines that serve HTTP on PORT, with the path that answers 200 once they do.
HTTP_LINES = {"web": "/readyz"} | {name: "/" for name in PEERS if name.endswith("_web")}
# Lines that say nothing when they are ready.
SILENT = ("beat", "flower")
JWT_SECRET = "a-secret-of-the-bench-that-is-long-enough"  # noqa: S105 - of servers that live as long as this run


@dataclass(frozen=True)
class Stage:
    """The servers of this run, and a folder for logs."""

    servers: Servers
    directory: Path
    environ: Mapping[str, str]
    quiet: Quiet = field(default_factory=Quiet)
    # Whose Procfile is run: this release's, or another's.
    tree: Path = PROJECT
    # Another release on the same servers, and its name.
    beside: tuple[str, Stage] | None = None

    @cached_property
    def redis(self) -> Redis:
        """The Redis that events go through."""
        return Redis.from_url(self.servers.redis_url)

    @cached_property
    def lines(self) -> dict[str, str]:
        """The commands of the release's Procfile, by name."""
        return dict(parse_procfile((self.tree / "Procfile").read_text()).processes)

    @cached_property
    def admin_url(self) -> str:
        """The superuser's address of the application's database: past row-level security, for setting up."""
        database = urlsplit(self.servers.database_url).path
        return urlsplit(str(self.servers.admin_database_url))._replace(path=database).geturl()

    @property
    def amqp(self) -> str:
        """The broker."""
        return self.servers.rabbitmq_url

    @property
    def http(self) -> tuple[str, int]:
        """Where the line that serves HTTP listens: one at a time."""
        return LOOPBACK, int(self.environ["PORT"])

    def sql(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, outside a transaction block; return its rows."""
        connection = psycopg2.connect(self.admin_url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def token(self, organization_id: object) -> str:
        """Return a token of an admin of an organization."""
        claims = {"sub": str(uuid4()), "email": "ada@example.org", "organization_id": str(organization_id)}
        claims |= {"role": "admin"}
        return jwt.encode({**claims, "exp": datetime.now(UTC) + timedelta(hours=6)}, JWT_SECRET)

    @contextmanager
    def running(self, *lines: str, **settings: str) -> Iterator[dict[str, Child]]:
        """Run lines of either Procfile side by side, ready, and stop them at the end."""
        environ = {**self.environ, **settings}
        with ExitStack() as stack:
            children = {line: self._child(line) for line in lines}

            def tell(_: object, problem: BaseException | None, __: object) -> None:
                """Show what they said with whatever went wrong; their logs go with this run."""
                for child in children.values() if problem else ():
                    problem.add_note(f"{child.name}: {child.last_lines()}")  # type: ignore[union-attr]

            stack.push(tell)
            for line, child in children.items():
                stack.callback(child.stop)
                child.start(["/bin/sh", "-c", (self.lines | PEERS)[line]], environ=environ)
            for line, child in children.items():
                child.wait_until(partial(self._is_ready, line, child), within=READY_WITHIN)
            yield children
            for child in children.values():
                if not child.is_running and child.exit_code:
                    raise StartError(child.account())

    @contextmanager
    def another_database(self) -> Iterator[Stage]:
        """Give a stage on the same servers with a migrated, empty database of its own, dropped at the end."""
        admin_url, name = str(self.servers.admin_database_url), f"bench_{secrets.token_hex(4)}"
        owner_url, application_url = create_database(admin_url, name=name)
        beside = replace(self.servers, database_url=application_url, migration_database_url=owner_url)
        made = replace(self, servers=beside, environ={**self.environ, **beside.environ})
        try:
            made.release()
            yield made
        finally:
            drop_database(admin_url, name=name)

    def release(self) -> None:
        """Migrate."""
        release = self._child("release")
        release.run(["/bin/sh", "-c", self.lines["release"]], environ=self.environ, within=READY_WITHIN)

    def _child(self, line: str) -> Child:
        log, record = self.directory / "logs" / f"{line}.log", self.directory / "run" / f"{line}.json"
        directory = PROJECT if line in PEERS else self.tree
        return Child(line, directory=directory, log=log, record=record, patience=timedelta(seconds=30))

    def _is_ready(self, line: str, child: Child) -> bool:
        if line in SILENT:
            return True
        if line not in HTTP_LINES:
            # Celery's own word, which the peers without Celery say too.
            return " ready." in child.log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.environ['PORT']}{HTTP_LINES[line]}", timeout=PROBE
            ) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (urllib.error.URLError, ConnectionError):
            return False


def memory_of(child: Child) -> int:
    """Return the bytes that a child and all it started hold, pages that they share counted once (PSS)."""
    return sum(process.memory_full_info().pss for process in child.family())


@contextmanager
def stage() -> Iterator[Stage]:
    """Start servers of this run's own, with a migrated database; nothing of them stays."""
    directory = Path(tempfile.mkdtemp(prefix="rita-bench-"))
    directory.chmod(0o755)
    data = directory / "servers"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(_forget, data)
        # Kept while it runs, which makes PostgreSQL durable: fsync is a part of what is measured.
        environ = {name: os.environ[name] for name in ("PATH", brokers.SETTING) if name in os.environ}
        started = stack.enter_context(servers(data, environ=environ))
        started.wait()
        if not started.rabbitmq_url.startswith("amqp"):
            raise StartError("The bench needs RabbitMQ: install rabbitmq-server.")
        made = Stage(started, directory, _environment(started))
        _give_memory_to_postgresql(made)
        made.release()
        yield made


def _give_memory_to_postgresql(stage: Stage) -> None:
    """Let it keep pages in a quarter of the memory, as its manual advises for a server (`shared_buffers`)."""
    mebibytes = psutil.virtual_memory().total // 4 // 2**20
    stage.sql(f"ALTER SYSTEM SET shared_buffers = '{mebibytes}MB'")
    (server,) = [server for server in stage.servers.private if isinstance(server, PostgreSQL)]
    server.stop()
    server.start()


def _forget(data: Path) -> None:
    if data.exists():
        with lock_directory(data):
            remove(data)


def _environment(started: Servers) -> dict[str, str]:
    """Return the settings of every contestant: production's defaults, but for where things are."""
    return {
        **started.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "PYTHONUNBUFFERED": "1",
        "AUTOMATION_WEBHOOK_URL": f"http://{LOOPBACK}:{free_port()}/webhook",
        "AUTOMATION_AUTH": "Bearer of-the-bench",
        "JWT_SECRET": JWT_SECRET,
        "SEAL_KEYS": Fernet.generate_key().decode(),
        # Counted like any, and never reached.
        "SYNC_RATE_LIMIT": "10000/second",
        "CHANGE_RATE_LIMIT": "10000/second",
        "SSE_STREAMS_PER_ORGANIZATION": "1000000",
    }
