"""The directories of groups of processes that were killed, which nobody could remove at an exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app import metrics_sharing
from tests.project import PROJECT
from tests.waiting import eventually

# A group of two, as gunicorn's; both go on until their standard input ends.
SCRIPT = """
import os, sys
from app import metrics_sharing

metrics_sharing.share_with_forked_processes()
if child := os.fork():
    print(os.environ["PROMETHEUS_MULTIPROC_DIR"], child, flush=True)
sys.stdin.read()
"""
Group = subprocess.Popen[str]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(tmp_path)}


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Callable[[], tuple[Group, Path, int]]]:
    """Start a group; return it, its directory and the number of its child."""
    with ExitStack() as ended:

        def run() -> tuple[Group, Path, int]:
            command = [sys.executable, "-c", SCRIPT]
            group = ended.enter_context(
                subprocess.Popen(
                    command, cwd=PROJECT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            assert group.stdout
            directory, child = group.stdout.readline().split()
            return group, Path(directory), int(child)

        yield run


def test_what_a_group_has_left_that_was_killed_is_removed_by_the_next_and_nothing_else(
    tmp_path: Path, start: Callable[[], tuple[Group, Path, int]], environ: dict[str, str]
) -> None:
    dead, left, child_of_dead = start()
    orphaned, kept, _ = start()
    _, living, _ = start()
    strange = tmp_path / f"{metrics_sharing.METRICS_DIRECTORY_PREFIX}strange"
    strange.mkdir()
    assert {left, kept, living, strange} == set(tmp_path.iterdir())

    for number in (dead.pid, child_of_dead, orphaned.pid):
        os.kill(number, signal.SIGKILL)

    def after_another() -> set[Path]:
        command = [
            sys.executable,
            "-c",
            "from app import metrics_sharing; metrics_sharing.share_with_forked_processes()",
        ]
        subprocess.run(command, cwd=PROJECT, env=environ, check=True)
        return set(tmp_path.iterdir())

    # What was killed is not dead at once.
    eventually(lambda: left not in after_another())
    assert after_another() == {kept, living, strange}
