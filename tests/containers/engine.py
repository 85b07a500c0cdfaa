"""A plugin of pytest's for `make containers`: podman with its Docker-compatible socket, and the bases in its store.

Run as a program it tries whether a container can be started here at all, and says why not.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from datetime import timedelta

import pytest

from devstack.child import StartError, wait_until
from tests import docker_engine
from tests.containers import bases, places
from tests.containers.podman import REGISTRY, configure, podman, take_in

SOCKET = places.running() / "podman.sock"
ANSWERS_WITHIN = timedelta(seconds=30)
# Commands and flags of Linux's netdevice(7).
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

pytest_plugins = docker_engine.PLUGINS

_service: list[subprocess.Popen[bytes]] = []


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest's signature
    """Bring it up before any test asks for a Docker engine, which they do when they are collected."""
    bring_up()
    for base in bases.wanted():
        take_in(base)
    _service.append(subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{SOCKET}"]))
    os.environ["DOCKER_HOST"] = f"unix://{SOCKET}"
    if not wait_until(SOCKET.exists, within=ANSWERS_WITHIN):
        raise StartError("podman's service did not come up.")


def pytest_unconfigure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest's signature
    """End the service; what it started has been removed by then."""
    for service in _service:
        service.terminate()
        service.wait()


def bring_up() -> None:
    """Give these namespaces a loopback interface and podman."""
    _bring_up_loopback()
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    configure()
    # Of a run that was killed.
    podman("rm", "--all", "--force", "--time", "0")
    podman("volume", "rm", "--all", "--force")


def try_it() -> None:
    """Start a container on a network with a name. Raises StartError."""
    bring_up()
    base = bases.wanted()[0]
    take_in(base)
    podman("network", "create", "rita-trial")
    podman("run", "--rm", "--network", "rita-trial", "--memory", "64m", f"{REGISTRY}/{base.names[0]}", "true")
    podman("network", "rm", "rita-trial")


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack("16xh", fcntl.ioctl(opened, SIOCGIFFLAGS, name + b"\0" * 2)[:18])
        fcntl.ioctl(opened, SIOCSIFFLAGS, struct.pack("16sh", name, flags | IFF_UP))


if __name__ == "__main__":
    try:
        try_it()
    except (StartError, OSError) as problem:
        sys.exit(str(problem))
