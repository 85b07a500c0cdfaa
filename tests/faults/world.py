"""One whole Rita on servers of its own: a proxy before each broker connection, a supervisor behind each process."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]

from devstack.child import LOOPBACK
from devstack.databases import create_database
from devstack.postgres import PostgreSQL
from devstack.rabbitmq import RabbitMQ
from devstack.valkey import Valkey
from tests.e2e.conftest import Rows
from tests.e2e.processes import COMMANDS, READY_WITHIN, Processes, environment
from tests.e2e.service import DEAD, STATUS, Service
from tests.faults.proxy import Proxy
from tests.receiver import Receiver
from tests.waiting import eventually

LINES = ("web", "worker", "webhook_worker", "beat")
SUPERVISION = 0.1
# The proportions of the defaults, in seconds instead of minutes. A verification's deadline is longer than the claim of
# a worker that dies with one (the total limit and 20 s), as it is by default.
SETTINGS = {
    "VERIFY_DEADLINE_SECONDS": "40",
    "SYNC_START_DEADLINE_SECONDS": "40",
    "SYNC_SILENCE_DEADLINE_SECONDS": "40",
    "VERIFY_RETRY_SECONDS": "0.5,1,2,4,4",
    "SYNC_RETRY_SECONDS": "0.5,1,2,4,4",
    "WEBHOOK_CONNECT_SECONDS": "1",
    "WEBHOOK_READ_SECONDS": "2",
    "WEBHOOK_TOTAL_SECONDS": "3",
    "WEBHOOK_FAILURES_TO_PARK": "10",
    "WEBHOOK_PROBE_SECONDS": "1",
    "DISPATCH_INTERVAL_SECONDS": "0.5",
    "EXPIRY_INTERVAL_SECONDS": "0.5",
    "SSE_HEARTBEAT_SECONDS": "2",
    "STATUS_RETRY_SECONDS": "0.25,0.5",
    "STATUS_HOLD_SECONDS": "5",
    "WEBHOOK_SIGNING_SECRET": "whsec_" + "ZmF1bHQtaW5qZWN0aW9uLXNpZ25pbmctc2VjcmV0",
}


class World:
    """Servers, processes and the external service's door; `kill` and `stop` are for whoever injects faults."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postgres = PostgreSQL(directory / "postgres", durable=False, environ=os.environ)
        self.valkey = Valkey(directory / "valkey", keeps=True, environ=os.environ)
        self.rabbitmq = RabbitMQ(directory / "rabbitmq", environ=os.environ)
        self.receiver = Receiver()
        self.brokers: dict[str, Proxy] = {}
        # Lines that ended although nobody had killed them.
        self.deaths: list[str] = []
        self._supervised: set[str] = set()
        self._killed: set[str] = set()
        self._changes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[World]:
        """Start everything, and stop it however this ends."""
        with ExitStack() as stack:
            stack.callback(self.postgres.remove)
            for server in (self.postgres, self.valkey, self.rabbitmq):
                stack.enter_context(server)
            owner_url, application_url = create_database(self.postgres.url, name="rita")
            self.superuser_url = urlsplit(self.postgres.url)._replace(path="/rita").geturl()
            self.rows = Rows(self.superuser_url)
            stack.enter_context(self.receiver)
            self.door = stack.enter_context(Proxy(urlsplit(self.receiver.url).port or 0))
            environ = environment(
                database_urls=(owner_url, application_url),
                redis_url=self.valkey.url,
                rabbitmq_url=self.rabbitmq.url,
                webhook_url=f"http://{LOOPBACK}:{self.door.port}/webhook",
                **SETTINGS,
                # A line for each batch of messages.
                LOG_LEVEL="DEBUG",
            )
            for line in LINES:
                self.brokers[line] = stack.enter_context(Proxy(self.rabbitmq.port))
                through = f"guest:guest@{LOOPBACK}:{self.brokers[line].port}"
                self._changes[line] = {"RABBITMQ_URL": urlsplit(self.rabbitmq.url)._replace(netloc=through).geturl()}
            self.processes = stack.enter_context(Processes(environ, directory=self.directory))
            self.queues = Service(self.rabbitmq.url)
            self.queues.declare()
            self.processes.run("release")
            self.start(*LINES)
            # Beat has no word of its own for being ready; until it speaks to the broker, TERM may find it unprepared.
            eventually(lambda: self.brokers["beat"].links, within=READY_WITHIN)
            # Before the processes are ended, or it would start them again.
            stack.callback(self._end_supervision)
            threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
            yield self

    @property
    def base_url(self) -> str:
        return self.processes.base_url

    def start(self, *lines: str, **changes: str) -> None:
        """Start lines and wait until they are ready; `changes` are settings of this start and the supervisor's."""
        with self._lock:
            for line in lines:
                self._changes[line] |= changes
                self.processes.start(line, **self._changes[line])
                self._supervised.add(line)

    def stop(self, *lines: str, within: float) -> None:
        """Ask lines to end with TERM, and fail if one outlives its grace; the supervisor leaves them alone."""
        with self._lock:
            self._supervised -= set(lines)
            self.processes.stop(*lines, within=within)

    def restart(self, *lines: str, **changes: str) -> None:
        """Stop lines in good order and start them with other settings."""
        self.stop(*lines, within=40)
        self.start(*lines, **changes)

    def family(self, line: str) -> list[Any]:
        """Return a line's processes, its leader first."""
        return self.processes.children[line].family()

    def kill(self, line: str) -> None:
        """End a line as when its container dies: all its processes at once, with KILL."""
        self._killed.add(line)
        for process in self.family(line):
            # One may have ended with its leader.
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def logs(self) -> str:
        return "\n".join(self.processes.log(line) for line in LINES)

    def dead_letters(self) -> list[bytes]:
        """Return every dead letter's body; they stay in their queue."""
        return [_bytes(message.body) for message in self.queues.look(DEAD)]

    def forget_dead_letters(self) -> None:
        self.queues.purge(DEAD)

    def status_messages(self) -> int:
        """Return how many status messages wait."""
        return self.queues.waiting(STATUS)

    def _supervise(self) -> None:
        while not self._over.wait(SUPERVISION):
            with self._lock:
                for line in self._supervised:
                    child = self.processes.children[line]
                    if not child.is_running and not self._over.is_set():
                        if line not in self._killed:
                            self.deaths.append(line)
                        self._killed.discard(line)
                        # What a platform does with the rest of a container whose first process has ended.
                        child.kill()
                        child.start(
                            ["/bin/sh", "-c", COMMANDS[line]], environ=self.processes.environ | self._changes[line]
                        )

    def _end_supervision(self) -> None:
        self._over.set()
        with self._lock:
            self._supervised.clear()


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


@contextmanager
def a_world() -> Iterator[World]:
    """Make one in a directory that goes with it."""
    directory = Path(tempfile.mkdtemp(prefix="rita-faults-"))
    # PostgreSQL's user looks into it.
    directory.chmod(0o755)
    try:
        with World(directory).running() as world:
            yield world
    finally:
        shutil.rmtree(directory, ignore_errors=True)
