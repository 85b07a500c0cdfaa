"""Ports are held from their choice on, against every other process that chooses one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import environment
from devstack.child import LOOPBACK, StartError
from devstack.ports import free_port, hold, kept_port
from tests.project import PROJECT

TRY_TO_HOLD = "import sys; from devstack.ports import hold; sys.exit(not hold(int(sys.argv[1])))"


def another_process_holds(port: int) -> bool:
    """Let another process try to hold a port; it lets go of it by its end."""
    command = [sys.executable, "-c", TRY_TO_HOLD, str(port)]
    return subprocess.run(command, cwd=PROJECT, check=False, timeout=30).returncode == 0


def test_a_port_that_was_chosen_is_no_other_process_s_although_nobody_listens_yet() -> None:
    port = free_port()

    assert not another_process_holds(port)


def test_the_ports_of_a_process_that_has_ended_are_free_again() -> None:
    # Its lock goes with it, however it ended.
    command = [
        sys.executable,
        "-c",
        "import os; from devstack.ports import free_port; print(free_port(), flush=True); os._exit(9)",
    ]
    ended = subprocess.run(command, cwd=PROJECT, check=False, timeout=30, capture_output=True, text=True)

    assert hold(int(ended.stdout))


def test_a_port_that_somebody_listens_on_is_not_held() -> None:
    port = free_port()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))
        stranger.listen()

        assert not hold(port)
        assert free_port(port) != port


def test_two_choices_of_one_process_are_two_ports() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_a_server_that_is_started_again_keeps_its_port(tmp_path: Path) -> None:
    first = kept_port(tmp_path / "port")

    assert kept_port(tmp_path / "port") == first


def test_a_port_that_another_run_holds_is_refused_by_its_setting_s_name(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))
        stranger.listen()

        with pytest.raises(StartError, match=f"PORT={port} is not a free port"):
            environment.complete_environment({"PORT": str(port)}, servers={}, directory=tmp_path)
