"""The examples for authors are whole services: each passes the conformance command, run as its author would run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from socket import create_connection
from uuid import uuid4

import pytest

from devstack.child import LOOPBACK
from devstack.conformance.clauses import CLAUSES
from devstack.ports import free_port
from tests.devstack.conftest import EXAMPLES
from tests.devstack.standin import AUTHORIZATION, SECRET
from tests.e2e.service import Service
from tests.node import needs_node, run
from tests.project import PROJECT
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

QUICK = ["--verification-within", "20", "--sync-within", "20", "--quiet", "0.5"]


@contextmanager
def started(command: Sequence[str], *, folder: Path, rabbitmq_url: str) -> Iterator[list[str]]:
    """Start a service in its folder; yield the arguments that lead the conformance command to it."""
    port, queue = free_port(), f"example.{uuid4().hex[:8]}"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PORT": str(port),
        # The virtual host as RabbitMQ's own page on URIs has it; of `//` clients make different things.
        "RABBITMQ_URL": re.sub("//$", "/%2F", rabbitmq_url),
        "STATUS_QUEUE": queue,
        "AUTOMATION_AUTH": AUTHORIZATION,
        "WEBHOOK_SIGNING_SECRET": SECRET,
    }
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=output)
    try:
        eventually(lambda: process.poll() is not None or _listens(port), within=30)
        assert process.poll() is None, (folder / "output").read_text()
        yield ["--webhook-url", f"http://{LOOPBACK}:{port}/webhook", "--rabbitmq-url", rabbitmq_url, "--queue", queue]
    finally:
        process.terminate()
        process.wait(timeout=20)
        Service(rabbitmq_url).delete(queue)


def _listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), closing(create_connection((LOOPBACK, port), timeout=1)):
        return True
    return False


def conformance(*arguments: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "AUTOMATION_AUTH": AUTHORIZATION, "WEBHOOK_SIGNING_SECRET": secret}
    command = [sys.executable, "-m", "devstack.conformance", *QUICK, *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=90, check=False)


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {row["id"]: row["result"] for row in json.loads(done.stdout)["rows"]}


def test_the_python_example_in_a_folder_of_its_own_passes_every_row(rabbitmq_url: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "service.py", tmp_path)

    with started([sys.executable, "service.py"], folder=tmp_path, rabbitmq_url=rabbitmq_url) as where:
        done = conformance("--json", *where)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["passed"] is True
    assert results(done) == dict.fromkeys(CLAUSES, "pass")


@needs_node
def test_the_typescript_example_compiles_and_passes_every_row(rabbitmq_url: str, node_folder: Path) -> None:
    checked = run(node_folder, "npm", "run", "--silent", "check")
    assert checked.returncode == 0, checked.stdout
    command = ["node", "--import", "tsx", "service.ts"]

    with started(command, folder=node_folder, rabbitmq_url=rabbitmq_url) as where:
        done = conformance("--json", *where)

    assert done.returncode == 0, done.stdout + done.stderr
    assert results(done) == dict.fromkeys(CLAUSES, "pass")


# Debian's packages librabbitmq-client-java and libjackson2-databind-java, and what they need.
JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("amqp-client", "slf4j-api", "jackson-databind", "jackson-core", "jackson-annotations")
]


@pytest.mark.skipif(
    not (shutil.which("javac") and all(jar.exists() for jar in JARS)),
    reason="no JDK with the libraries of the Java example: default-jdk-headless and the two above",
)
def test_the_java_example_compiles_without_warnings_and_passes_every_row(rabbitmq_url: str, tmp_path: Path) -> None:
    libraries = ":".join(str(jar) for jar in JARS)
    source = EXAMPLES / "java" / "Service.java"
    compiled = run(tmp_path, "javac", "-Xlint:all", "-Werror", "-cp", libraries, "-d", str(tmp_path), str(source))
    assert compiled.returncode == 0, compiled.stderr
    command = ["java", "-cp", f"{libraries}:{tmp_path}", "Service"]

    with started(command, folder=tmp_path, rabbitmq_url=rabbitmq_url) as where:
        done = conformance("--json", *where)

    assert done.returncode == 0, done.stdout + done.stderr
    assert results(done) == dict.fromkeys(CLAUSES, "pass")


def test_a_failing_row_is_named_with_its_section_and_in_the_exit_code(rabbitmq_url: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "service.py", tmp_path)
    not_agreed = "whsec_" + "bm90LWFncmVlZC1ub3QtYWdyZWVkLW5vdC1hZ3JlZWQ="

    with started([sys.executable, "service.py"], folder=tmp_path, rabbitmq_url=rabbitmq_url) as where:
        done = conformance(*where, secret=not_agreed)

    assert done.returncode == 1
    assert "pass        2.2       A webhook without the agreed Authorization" in done.stdout
    assert "FAIL        2.3       A webhook by the book is answered 2xx in time [accepted]" in done.stdout
    assert "does not accept our authorization (HTTP 401)" in done.stdout


def test_the_python_example_stays_short() -> None:
    assert len((EXAMPLES / "service.py").read_text().splitlines()) < 150
