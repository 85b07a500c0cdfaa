"""A private RabbitMQ node, of the installation that `rabbitmq-server` on the PATH belongs to or TEST_RABBITMQ names.

It shares nothing with the system's node: its own name, ports, port mapper (epmd), cookie, data and configuration.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import amqp

from devstack import brokers
from devstack.child import LOOPBACK, Child, Server, StartError
from devstack.ports import kept_port

PROBE = timedelta(seconds=2)
STOP_WITHIN = timedelta(seconds=15)
# An Erlang of its own starts for each command.
COMMANDED_WITHIN = timedelta(seconds=60)
FIRST_VIRTUAL_HOST = "/"


def is_installed(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a RabbitMQ to start; else the PATH alone decides, so that it can be hidden."""
    return bool(environ.get(brokers.SETTING)) or shutil.which("rabbitmq-server", path=environ.get("PATH")) is not None


class RabbitMQ(Server):
    """A node on free ports of the loopback interface; durable queues outlive a restart."""

    ready_within = timedelta(seconds=60)

    def __init__(self, directory: Path, *, environ: Mapping[str, str]) -> None:
        self.directory = directory
        self._given = environ
        log, record = directory / "rabbitmq.log", directory / "process.json"
        self.child = Child("RabbitMQ", directory=directory, log=log, record=record, patience=STOP_WITHIN)
        name, log, record = "RabbitMQ's port mapper (epmd)", directory / "epmd.log", directory / "epmd.json"
        self._port_mapper = Child(name, directory=directory, log=log, record=record)

    @cached_property
    def port(self) -> int:
        """The same in each run, as long as nobody else takes it."""
        return kept_port(self.directory / "port")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/{self.virtual_host}"

    def launch(self) -> None:
        """Start it on the ports it had, if they are free; it needs seconds until it answers. Raises StartError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What an earlier run left must free the ports before they are chosen.
        self.stop()
        (self.directory / "rabbitmq.conf").write_text(f"listeners.tcp.local = {LOOPBACK}:{self.port}\n")
        (self.directory / "enabled_plugins").write_text("[].\n")
        # Named so that the system's own file of this kind is not read.
        (self.directory / "rabbitmq-env.conf").touch()
        # Left to itself the node starts a port mapper that outlives it; one that already listens is taken instead.
        epmd = self._installation.port_mapper("-port", self._environ["ERL_EPMD_PORT"], "-address", LOOPBACK)
        self._port_mapper.start(epmd, environ=self._environ)
        self.child.start(self._installation.server(), environ=self._environ)

    def answers(self) -> bool:
        """Tell whether a client can sign in."""
        try:
            with amqp.Connection(
                f"{LOOPBACK}:{self.port}",
                userid="guest",
                password="guest",  # noqa: S106 - RabbitMQ's own first user, good on the loopback interface only
                virtual_host=self.virtual_host if self._is_prepared else FIRST_VIRTUAL_HOST,
                connect_timeout=PROBE.total_seconds(),
                read_timeout=PROBE.total_seconds(),
            ):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def wait(self) -> None:
        """Wait until it answers, in the virtual host of its own if it has one. Raises StartError."""
        super().wait()
        if not self._is_prepared:
            self.control("add_vhost", self.virtual_host, "--default-queue-type", self._combination.queues)
            self.control("set_permissions", "--vhost", self.virtual_host, "guest", ".*", ".*", ".*")
            self._prepared.touch()

    def control(self, *words: str) -> str:
        """Run rabbitmqctl on the node and return what it prints. Raises StartError."""
        try:
            done = subprocess.run(
                self._installation.control("--quiet", *words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                env=self._environ,
                timeout=COMMANDED_WITHIN.total_seconds(),
            )
        except subprocess.TimeoutExpired as problem:
            raise StartError(f"rabbitmqctl {words[0]} did not end in time.") from problem
        if done.returncode:
            raise StartError(f"rabbitmqctl {words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def stop(self) -> None:
        """End in good order; also what an earlier run left behind."""
        self.child.stop()
        self._port_mapper.stop()

    def kill(self) -> None:
        """End as in a crash."""
        self.child.kill()
        self._port_mapper.kill()

    @cached_property
    def _installation(self) -> brokers.Installation:
        return self._combination.installation(self._given)

    @property
    def _combination(self) -> brokers.Combination:
        return brokers.select_combination(self._given)

    @property
    def virtual_host(self) -> str:
        """The first one makes classic queues of what is declared plainly; who wants others makes another one."""
        queues = self._combination.queues
        return FIRST_VIRTUAL_HOST if queues == brokers.CLASSIC else queues

    @property
    def _data(self) -> Path:
        """Where its queues are; no release reads what another one wrote."""
        release = self._combination.release
        return self.directory / (f"data-{release}" if release else "data")

    @property
    def _prepared(self) -> Path:
        return self._data.with_name(f"{self._data.name}.{self.virtual_host}")

    @property
    def _is_prepared(self) -> bool:
        return self.virtual_host == FIRST_VIRTUAL_HOST or self._prepared.exists()

    @cached_property
    def _environ(self) -> dict[str, str]:
        home = self.directory
        return {
            "PATH": self._given.get("PATH", ""),
            "LANG": "C.UTF-8",
            # Erlang keeps the cookie there.
            "HOME": str(home),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(kept_port(home / "epmd.port")),
            "RABBITMQ_NODENAME": "devstack@localhost",
            "RABBITMQ_DIST_PORT": str(kept_port(home / "distribution.port")),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_PID_FILE": str(home / "node.pid"),
        }
