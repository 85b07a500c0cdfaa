"""`make run` several times at once, as in several clones: each has ports of its own, and leads to itself alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from redis import Redis

from devstack.environment import PORTS
from devstack.servers import Servers
from tests.databases import Template
from tests.project import PROJECT
from tests.waiting import eventually

AT_ONCE = 4


@dataclass(frozen=True)
class Run:
    """One run, its folder, and where it writes what a person would read."""

    folder: Path
    output: Path
    process: subprocess.Popen[bytes]

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return "Rita is ready" in self.output.read_text()

    def setting(self, name: str) -> str:
        """Return what the run wrote down for commands in another terminal."""
        found = re.search(rf"^{name}=(.*)$", (self.folder / "environment").read_text(), re.MULTILINE)
        assert found
        return found[1].strip("'")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=60) == 0, self.output.read_text()


@pytest.fixture
def runs(private_servers: Servers, template: Template, tmp_path: Path) -> Iterator[list[Run]]:
    """Begin all of them before any has chosen its ports; each has a database of its own."""
    with ExitStack() as stack:
        begun = []
        for number in range(AT_ONCE):
            owner_url, application_url = stack.enter_context(template.copied("run"))
            folder, output = tmp_path / str(number), tmp_path / f"{number}.output"
            environ = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "DATABASE_URL": application_url,
                "MIGRATION_DATABASE_URL": owner_url,
                "REDIS_URL": private_servers.redis_url,
                "RABBITMQ_URL": private_servers.rabbitmq_url,
            }
            command = [sys.executable, "-m", "devstack.run", "--directory", str(folder)]
            with output.open("wb") as written:
                process = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=written, stderr=written)
            stack.callback(process.wait, timeout=60)
            stack.callback(process.kill)
            begun.append(Run(folder, output, process))
        yield begun
        with Redis.from_url(private_servers.admin_redis_url) as redis:
            redis.flushdb()


def test_runs_that_begin_at_once_have_ports_of_their_own_and_each_link_leads_into_its_own(runs: list[Run]) -> None:
    for run in runs:
        eventually(lambda run=run: run.is_ready, within=100)

    ports = [run.setting(name) for run in runs for name in PORTS]
    assert len(set(ports)) == len(ports)
    for run in runs:
        short = re.search(r"Acme, admin.*\n\s+(http://\S+)", run.output.read_text())
        assert short
        address, _, token = (
            requests.get(short[1], allow_redirects=False, timeout=10).headers["Location"].partition("/#token=")
        )
        assert address == f"http://127.0.0.1:{run.setting('PORT')}"
        # Each has a secret of its own, so that one's token is a stranger's to the others.
        answer = requests.get(f"{address}/api/data-sources", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code == requests.codes.ok
    for run in runs:
        run.end()
