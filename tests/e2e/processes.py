"""Rita's own processes as the Procfile starts them: through a shell, from an environment of settings alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
import requests
from cryptography.fernet import Fernet
from honcho.environ import parse_procfile

from app.process_settings import environment_for_process
from devstack import run
from devstack.child import LOOPBACK, Child, wait_until
from devstack.ports import free_port
from tests.project import PROJECT
from tests.waiting import eventually

COMMANDS: dict[str, str] = dict(parse_procfile((PROJECT / "Procfile").read_text()).processes)
# What a process needs to import all that it uses, on two cores that others use too.
READY_WITHIN = 60.0
# Of a log's line that a failing test shows.
LONGEST_LINE, LAST_LINES = 300, 8
# What platforms commonly give between TERM and KILL.
GRACE = 30.0

JWT_SECRET = "a-secret-of-the-processes-that-is-long-enough"
FLOWER_AUTH = ("rita", "flower-password")
METRICS_TOKEN = "a-token-of-the-operators"

_running: list[Processes] = []


def path_of_programs() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def environment(
    *, database_urls: tuple[str, str], redis_url: str, rabbitmq_url: str, webhook_url: str, **changes: str
) -> dict[str, str]:
    """Return an environment of CONTRACT's settings and nothing else; waits are short, for nobody looks at a screen."""
    owner_url, application_url = database_urls
    return {
        "PATH": path_of_programs(),
        # Without what production has not, and development's processes would load.
        "PYTHONPATH": str(Path(__file__).with_name("absent")),
        "PORT": str(free_port()),
        "INSTANCE_ID": uuid4().hex,
        "FLOWER_PORT": str(free_port()),
        "FLOWER_BASIC_AUTH": ":".join(FLOWER_AUTH),
        "METRICS_TOKEN": METRICS_TOKEN,
        "LOG_LEVEL": "INFO",
        "DATABASE_URL": application_url,
        "MIGRATION_DATABASE_URL": owner_url,
        "REDIS_URL": redis_url,
        "RABBITMQ_URL": rabbitmq_url,
        "AUTOMATION_WEBHOOK_URL": webhook_url,
        "AUTOMATION_AUTH": "Bearer of-the-processes",
        "JWT_SECRET": JWT_SECRET,
        "SEAL_KEYS": Fernet.generate_key().decode(),
        "VERIFY_RETRY_SECONDS": "0.3,0.3,0.3",
        "SYNC_RETRY_SECONDS": "0.3,0.3,0.3",
        "WEBHOOK_FAILURES_TO_PARK": "1000000",
        # A sweep of a system in which nothing happens costs as much as one that finds something, and of several
        # systems at a time most are waiting.
        "DISPATCH_INTERVAL_SECONDS": "0.5",
        "EXPIRY_INTERVAL_SECONDS": "1",
        "VERIFY_RATE_LIMIT": "10000/second",
        "SYNC_RATE_LIMIT": "10000/second",
        "TICKET_RATE_LIMIT": "10000/second",
        "CHANGE_RATE_LIMIT": "10000/second",
    } | changes


class Processes:
    """Some of the Procfile's lines, running, each with the settings that it uses and its output in a file."""

    def __init__(self, environ: Mapping[str, str], *, directory: Path) -> None:
        self.environ = dict(environ)
        self.directory = directory
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        _running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.remove(self)
        for child in self.children.values():
            child.kill()

    def run(self, name: str) -> None:
        """Run a line that ends by itself, with success."""
        command, environ = ["/bin/sh", "-c", COMMANDS[name]], environment_for_process(name, self.environ)
        self._child(name).run(command, environ=environ, within=timedelta(seconds=READY_WITHIN))

    def command(self, *words: str) -> str:
        """Run an operator's command with the processes' settings, and return what it printed."""
        options: dict[str, Any] = {"cwd": PROJECT, "env": self.environ, "text": True, "timeout": READY_WITHIN}
        done = subprocess.run(words, capture_output=True, check=False, **options)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def launch(self, line: str, *, as_name: str, **changes: str) -> Child:
        """Start a line of which nobody knows whether it will ever be ready."""
        child = self._child(as_name)
        child.start(["/bin/sh", "-c", COMMANDS[line]], environ=environment_for_process(line, self.environ | changes))
        return child

    def start(self, *names: str, as_name: str | None = None, **changes: str) -> None:
        """Start lines side by side, and wait until each is ready; `changes` are settings of these alone."""
        environ = self.environ | changes
        waiting: list[tuple[str, Child, Callable[[], object]]] = []
        for line in names:
            name = as_name or line
            child = self.children.get(name) or self._child(name)
            before = self.log(name).count(" ready.")
            child.start(["/bin/sh", "-c", COMMANDS[line]], environ=environment_for_process(line, environ))
            waiting.append((name, child, self._readiness(line, name, environ, before=before)))
        for name, child, ready in waiting:
            eventually(lambda child=child, ready=ready: not child.is_running or ready(), within=READY_WITHIN)
            assert child.is_running, f"{name}: {child.account()}"

    def stop(self, *names: str, within: float = GRACE) -> None:
        """Ask processes to end with TERM, as a platform does, and fail if one outlives its grace."""
        families = {name: self.children[name].family() for name in names}
        for name, family in families.items():
            assert family, f"{name} has ended before it was asked to: {self.children[name].account()}"
            family[0].terminate()
        for name, family in families.items():
            child = self.children[name]
            assert wait_until(lambda child=child: not child.is_running, within=timedelta(seconds=within)), (
                f"{name} has not ended within {within} s. {child.last_lines()}"
            )
            left = [process for process in family[1:] if process.is_running() and process.status() != "zombie"]
            assert left == [], f"{name} left processes behind"

    def stop_all(self) -> None:
        self.stop(*[name for name, child in self.children.items() if child.is_running])

    def log(self, name: str) -> str:
        child = self.children.get(name)
        return child.log.read_text(errors="replace") if child and child.log.exists() else ""

    def all_logs(self) -> str:
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.directory.glob("*.log")))

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.environ['PORT']}"

    @property
    def flower_url(self) -> str:
        return f"http://{LOOPBACK}:{self.environ['FLOWER_PORT']}"

    def _child(self, name: str) -> Child:
        child = Child(
            name,
            directory=PROJECT,
            log=self.directory / f"{name}.log",
            record=self.directory / f"{name}.json",
        )
        self.children[name] = child
        return child

    def _readiness(self, line: str, name: str, environ: Mapping[str, str], *, before: int) -> Callable[[], object]:
        if line == "web":
            return lambda: run.answers(int(environ["PORT"]), "/readyz", instance=environ["INSTANCE_ID"])
        if line == "flower":
            return lambda: answers(f"http://{LOOPBACK}:{environ['FLOWER_PORT']}/healthcheck", auth=FLOWER_AUTH)
        if line.endswith("worker"):
            # Celery's own word, said once it consumes.
            return lambda: self.log(name).count(" ready.") > before
        return lambda: True


def answers(url: str, *, auth: tuple[str, str] | None = None) -> bool:
    try:
        return requests.get(url, auth=auth, timeout=5).status_code == requests.codes.ok
    except requests.ConnectionError:
        return False


@pytest.hookimpl(wrapper=True)
def show_logs(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, Any]:  # noqa: ARG001
    """Show with a failed test what the processes said; a conftest names this `pytest_runtest_makereport`."""
    report = yield
    if report.failed:
        for processes in _running:
            for name, child in processes.children.items():
                lines = child.last_lines().splitlines()[-LAST_LINES:]
                report.sections.append((f"log of {name}", "\n".join(line[:LONGEST_LINE] for line in lines)))
    return report
