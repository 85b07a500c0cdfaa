"""`--help` of every command: whole, and without settings or servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from app.cli import COMMAND_LOCATIONS, LazyCommandGroup
from devstack.offline_application import create_offline_application
from tests.project import PROJECT

MODULES = ("devstack.audit", "devstack.client", "devstack.conformance", "devstack.drift", "devstack.run", "tasks")


def commands() -> Iterator[click.Command]:
    app = create_offline_application()
    group = LazyCommandGroup(app)
    for name in COMMAND_LOCATIONS:
        found = group.get_command(click.Context(group), name)
        assert found
        yield from found.commands.values() if isinstance(found, click.Group) else [found]


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.name)
def test_an_operators_command_says_what_it_does_what_its_options_mean_and_how_it_ends(command: click.Command) -> None:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]

    assert command.help
    assert [option.name for option in options if not option.help] == []
    assert "Exit code: 0" in (command.epilog or "")


@pytest.mark.parametrize("module", MODULES)
def test_help_needs_no_settings_and_runs_nothing(module: str) -> None:
    done = _help(module)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith("usage: ")


@pytest.mark.parametrize("process", ["worker", "webhook_worker", "beat", "flower"])
def test_a_process_names_its_options_without_settings(process: str) -> None:
    done = _help("tasks", process)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m tasks {process}" in done.stdout


def _help(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words, "--help"]
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "100"}
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=60)
