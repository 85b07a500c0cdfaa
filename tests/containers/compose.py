"""The services of docker-compose.yml by podman: Docker Compose itself reads the file, and this starts what it read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.containers import places
from tests.containers.podman import inspect, podman, succeeds
from tests.project import PROJECT

LOOKS_EVERY = 0.5
# What `1m30s` is made of.
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def read(environment: Path, *, project: Path = PROJECT, profile: str = "demo") -> dict[str, Any]:
    """Return the services as Docker Compose understands them: variables set, what is merged merged."""
    command = [places.compose(), "--env-file", environment, "--profile", profile, "config", "--format", "json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # It writes each dollar sign twice, as it wants them in a file.
    return dict(json.loads(done.stdout.replace("$$", "$"))["services"])


def seconds(duration: str) -> float:
    """Return how long `1m30s` is."""
    total, number = 0.0, ""
    for sign in duration:
        if sign.isdigit():
            number += sign
        else:
            total, number = total + float(number or 0) * SECONDS[sign], ""
    return total


@dataclass
class Stack:
    """Services under names of their own, on a network of their own, with volumes of their own."""

    name: str
    services: Mapping[str, Any]
    images: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not succeeds("network", "exists", self.name):
            podman("network", "create", self.name)

    def container(self, service: str) -> str:
        return f"{self.name}-{service}"

    def in_order(self) -> list[str]:
        """Return the services, each after what it depends on."""
        ordered: list[str] = []

        def add(name: str) -> None:
            for needed in self.services[name].get("depends_on", {}):
                add(needed)
            if name not in ordered:
                ordered.append(name)

        for name in self.services:
            add(name)
        return ordered

    def up(self) -> None:
        """Start services in their order, each when what it depends on is as it demands."""
        for name in self._when_it_may():
            podman("run", "--detach", "--name", self.container(name), *self._options(name))

    def run_beside(self, name: str) -> int:
        """Run a service that ends by itself, beside one of the same name; return its exit code."""
        container = f"{self.container(name)}-beside"
        podman("run", "--detach", "--name", container, *self._options(name))
        return int(podman("wait", container))

    def start_again(self) -> None:
        """Start what was stopped, in the same way; what ends by itself does so again."""
        for name in self._when_it_may():
            podman("start", self.container(name))

    def _when_it_may(self) -> Iterator[str]:
        """Yield the services in their order, each when what it depends on has become as it demands."""
        become = set()
        for name in self.in_order():
            for needed, demanded in self.services[name].get("depends_on", {}).items():
                if (needed, demanded["condition"]) not in become:
                    self.is_as_demanded(needed, demanded["condition"])
                    become.add((needed, demanded["condition"]))
            yield name

    def stop(self, *names: str) -> dict[str, tuple[int, float]]:
        """Stop services as Compose does, each before what it depends on; return exit codes and seconds."""
        ended = {}
        for name in reversed(self.in_order()):
            if names and name not in names:
                continue
            began = time.monotonic()
            podman("stop", "--time", str(int(self.grace(name))), self.container(name))
            ended[name] = (self.exit_code(name), time.monotonic() - began)
        return ended

    def grace(self, name: str) -> float:
        """Return what the file gives it between TERM and KILL."""
        return seconds(self.services[name].get("stop_grace_period", "10s"))

    def is_healthy(self, name: str) -> bool:
        """Run its health check as Docker does."""
        return succeeds("exec", self.container(name), *self._health_command(name))

    def becomes_healthy(self, *names: str) -> None:
        """Wait for the health checks of these, or of all that have one; fail if one does not become good in time."""
        for name in names or self.in_order():
            if "healthcheck" in self.services[name]:
                self.is_as_demanded(name, "service_healthy")

    def exit_code(self, name: str) -> int:
        return int(inspect(self.container(name))["State"]["ExitCode"])

    def log(self, name: str) -> str:
        return (
            podman("logs", self.container(name), both=True)
            if succeeds("container", "exists", self.container(name))
            else ""
        )

    def remove_containers(self) -> None:
        """Remove its containers, as whoever exchanges them does: volumes and network stay."""
        for name in reversed(self.in_order()):
            for container in (self.container(name), f"{self.container(name)}-beside"):
                podman("rm", "--force", "--time", "0", "--ignore", container)

    def remove(self) -> None:
        """Remove everything of it."""
        self.remove_containers()
        for volume in podman("volume", "ls", "--quiet").splitlines():
            if volume.startswith(f"{self.name}-"):
                podman("volume", "rm", volume)
        podman("network", "rm", self.name)

    def is_as_demanded(self, name: str, condition: str) -> None:
        """Wait until a service is as another one's `depends_on` demands; fail if it does not become so in time."""
        if condition == "service_completed_successfully":
            assert podman("wait", self.container(name)) == "0", self.log(name)
        elif condition == "service_healthy":
            health = self.services[name]["healthcheck"]
            patience = seconds(health.get("start_period", "0s")) + health["retries"] * seconds(health["interval"])
            deadline = time.monotonic() + patience
            while not self.is_healthy(name):
                if time.monotonic() > deadline or self._has_ended(name):
                    pytest.fail(f"{name} is not healthy: {self.log(name)[-2000:]}")
                # Each look starts a process there, and often a Python.
                time.sleep(LOOKS_EVERY)

    def _has_ended(self, name: str) -> bool:
        return inspect(self.container(name))["State"]["Status"] == "exited"

    def _health_command(self, name: str) -> list[str]:
        how, *words = self.services[name]["healthcheck"]["test"]
        return ["sh", "-c", *words] if how == "CMD-SHELL" else words

    def _options(self, name: str) -> Iterator[str]:
        service = self.services[name]
        shared = service.get("network_mode", "")
        if shared:
            yield f"--network=container:{self.container(shared.removeprefix('service:'))}"
        else:
            yield from (f"--network={self.name}", f"--network-alias={name}")
        yield from (f"--env={variable}={value}" for variable, value in service.get("environment", {}).items())
        yield from (f"--publish={p['host_ip']}:{p['published']}:{p['target']}" for p in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = f"{self.name}-{volume['source']}" if volume["type"] == "volume" else volume["source"]
            yield f"--volume={source}:{volume['target']}:{'ro' if volume.get('read_only') else 'rw'}"
        yield from (f"--tmpfs={place}" for place in service.get("tmpfs", []))
        yield from (f"--cap-drop={capability}" for capability in service.get("cap_drop", []))
        # Podman's word for it has no value.
        yield from (f"--security-opt={option.removesuffix(':true')}" for option in service.get("security_opt", []))
        if service.get("read_only"):
            yield from ("--read-only", "--read-only-tmpfs=false")
        for option, key in (
            ("hostname", "hostname"),
            ("user", "user"),
            ("memory", "mem_limit"),
            ("restart", "restart"),
        ):
            if key in service:
                yield f"--{option}={service[key]}"
        yield f"--stop-timeout={int(self.grace(name))}"
        yield self.images.get(service["image"], service["image"])
        yield from service.get("command") or ()
