"""How long `make run` takes to a page, and what all of it needs while nothing happens."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from bench.results import Measure, Row, at_most
from bench.stage import PROJECT, Stage, memory_of
from devstack.child import LOOPBACK, Child
from devstack.ports import free_port
from devstack.run import READY

READY_WITHIN = timedelta(minutes=3)
STOPPED_WITHIN = timedelta(seconds=40)
MEBI = 1024 * 1024


@dataclass(frozen=True)
class Size:
    """How long it is left alone before its memory is read."""

    idle: float


def run(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """State both; nobody else starts the same."""
    found = [stage.quiet.measured(_start, stage, size) for _ in range(repeat)]
    return [
        Row("`make run` in an empty folder, to a served page", "s", [f[0] for f in found], target=at_most(10)),
        Row("`make run` in an empty folder, to the links to sign in by", "s", [f[1] for f in found]),
        Row("idle memory: processes of the Procfile and the stand-in", "MiB", [f[2] for f in found]),
        Row("idle memory: with PostgreSQL, Valkey and RabbitMQ", "MiB", [f[3] for f in found]),
    ]


def _start(stage: Stage, size: Size) -> tuple[float, float, float, float]:
    """Return seconds to the page, seconds to the links, MiB of the processes, MiB of everything."""
    with tempfile.TemporaryDirectory(prefix="rita-bench-run-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        everything = _child("make_run", directory)
        port = str(free_port())
        environ = {"PATH": stage.environ["PATH"], "PORT": port}
        # What the measures before this one have written is not this one's to wait for.
        os.sync()
        began = time.monotonic()
        try:
            command = [sys.executable, "-m", "devstack.run", "--directory", str(directory / "local")]
            everything.start(command, environ=environ)
            everything.wait_until(lambda: _is_served(port), within=READY_WITHIN)
            served = time.monotonic() - began
            everything.wait_until(lambda: READY in everything.log.read_text(), within=READY_WITHIN)
            ready = time.monotonic() - began
            time.sleep(size.idle)
            records = sorted((directory / "local" / "run").glob("*.json"))
            processes = sum(memory_of(_child(record.stem, directory, record=record)) for record in records)
            return served, ready, processes / MEBI, memory_of(everything) / MEBI
        finally:
            everything.stop()
            cleaner = _child("clean", directory)
            command = [sys.executable, "-m", "devstack.run", "--clean", "--directory", str(directory / "local")]
            cleaner.run(command, environ=environ, within=STOPPED_WITHIN)


def _child(name: str, directory: Path, *, record: Path | None = None) -> Child:
    log = directory / f"{name}.log"
    record = record or directory / f"{name}.json"
    return Child(name, directory=PROJECT, log=log, record=record, patience=STOPPED_WITHIN)


def _is_served(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, ConnectionError):
        return False


MEASURE = Measure("start", "`make run`, and idle memory", {"tiny": Size(0), "quick": Size(15), "full": Size(15)}, run)
