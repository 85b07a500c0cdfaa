"""The proxies of docs/deploy.md, each started from its file of docs/proxies, with this machine's ports and paths."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from devstack.certificates import NAME, Certificate
from devstack.child import LOOPBACK, Child, Server
from devstack.ports import free_port
from tests.project import PROJECT, program

FILES = PROJECT / "docs/proxies"
# Debian's places for what only root should start.
ELSEWHERE = "/usr/sbin:/usr/local/sbin"
READY_WITHIN = timedelta(seconds=20)
APACHE_MODULES = Path("/usr/lib/apache2/modules")
# What Debian's Apache has built in or turns on itself, and what the file says is to be turned on.
APACHE_LOADS = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "http2", "proxy", "proxy_http", "headers", "alias")


@dataclass(frozen=True)
class Times:
    """How long the proxies wait, in seconds: for a word of Rita's, and for streams once they are to go."""

    idle: float
    grace: float


class Front(Server):
    """A proxy in front of Rita, for browsers of this machine alone."""

    ready_within = READY_WITHIN

    def __init__(self, kind: Kind, *, upstream: int, certificate: Certificate, directory: Path, times: Times) -> None:
        self.kind = kind
        self.directory = directory
        self.port, self.plain_port, self.admin_port = free_port(), free_port(), free_port()
        self.access_log = directory / kind.access_log
        self.child = Child(
            kind.name, directory=directory, log=directory / "output.log", record=directory / "record.json"
        )
        text = (FILES / kind.file).read_text()
        for shown, used in kind.changes(self, upstream, certificate, times).items():
            assert shown in text, f"{kind.file} does not say {shown!r}"
            text = text.replace(shown, used)
        self.file = directory / kind.file
        self.file.write_text(text)

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def command(self, *, template: tuple[str, ...]) -> list[str]:
        names = {"file": self.file, "directory": self.directory, "admin_port": self.admin_port}
        return [self.kind.demand(), *(word.format(**names) for word in template[1:])]

    def launch(self) -> None:
        # Whatever it keeps, it keeps here.
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        self.child.start(self.command(template=self.kind.starts), environ=environ)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0

    def logged(self) -> str:
        return self.access_log.read_text() if self.access_log.exists() else ""

    def reload(self) -> None:
        """Have it read its file again, as a service's reload does."""
        if isinstance(self.kind.reloads, signal.Signals):
            self.child.family()[0].send_signal(self.kind.reloads)
            return
        again = Child(
            "reload", directory=self.directory, log=self.directory / "reload.log", record=self.directory / "r"
        )
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        again.run(self.command(template=self.kind.reloads), environ=environ, within=READY_WITHIN)


Changes = Callable[[Front, int, Certificate, Times], Mapping[str, str]]


@dataclass(frozen=True)
class Kind:
    """One of the proxies: its file, how it is started and told to read it again, and what is different here."""

    name: str
    file: str
    package: str
    starts: tuple[str, ...]
    reloads: signal.Signals | tuple[str, ...]
    changes: Changes
    access_log: str = "access.log"
    # Whether streams end when it reads its file again.
    reload_ends_streams: bool = True

    @property
    def is_there(self) -> bool:
        return shutil.which(self.starts[0], path=f"{os.environ['PATH']}:{ELSEWHERE}") is not None

    def demand(self) -> str:
        """Return where its program is; without it, skip the test or fail."""
        return program(self.starts[0], of=self.package, elsewhere=ELSEWHERE)


def _nginx(front: Front, upstream: int, certificate: Certificate, times: Times) -> Mapping[str, str]:
    kept = "".join(
        f" {kind}_temp_path {front.directory};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return {
        "events {": f"daemon off; pid {front.directory}/pid; error_log stderr;\nevents {{",
        "http {": f"http {{{kept}",
        "/var/log/nginx/access.log": str(front.access_log),
        "127.0.0.1:8000": f"{LOOPBACK}:{upstream}",
        "listen 80;": f"listen {LOOPBACK}:{front.plain_port};",
        "listen 443": f"listen {LOOPBACK}:{front.port}",
        "rita.example;": f"{NAME};",
        "/etc/ssl/rita.example/fullchain.pem": str(certificate.certificate),
        "/etc/ssl/rita.example/privkey.pem": str(certificate.key),
        "proxy_read_timeout 60s": f"proxy_read_timeout {times.idle * 1000:.0f}ms",
        "worker_shutdown_timeout 10s": f"worker_shutdown_timeout {times.grace * 1000:.0f}ms",
    }


def _caddy(front: Front, upstream: int, certificate: Certificate, times: Times) -> Mapping[str, str]:
    files = f"{certificate.certificate} {certificate.key}"
    return {
        "{\n\t# A stop": f"{{\n\tadmin {LOOPBACK}:{front.admin_port}\n\thttp_port {front.plain_port}\n\t# A stop",
        "rita.example {": f"{NAME}:{front.port} {{\n\tbind {LOOPBACK}\n\ttls {files}",
        "127.0.0.1:8000": f"{LOOPBACK}:{upstream}",
        "/var/log/caddy/access.log": str(front.access_log),
        "read_timeout 60s": f"read_timeout {times.idle}s",
        "grace_period 10s": f"grace_period {times.grace}s",
    }


def _haproxy(front: Front, upstream: int, certificate: Certificate, times: Times) -> Mapping[str, str]:
    return {
        # Where no system log listens.
        "log /dev/log local0": "log stdout format raw local0",
        "bind :80": f"bind {LOOPBACK}:{front.plain_port}",
        "bind :443": f"bind {LOOPBACK}:{front.port}",
        "/etc/haproxy/rita.example.pem": str(certificate.both),
        "127.0.0.1:8000": f"{LOOPBACK}:{upstream}",
        "client 60s": f"client {times.idle * 1000:.0f}ms",
        "server 60s": f"server {times.idle * 1000:.0f}ms",
        "hard-stop-after 10s": f"hard-stop-after {times.grace * 1000:.0f}ms",
    }


def _apache(front: Front, upstream: int, certificate: Certificate, times: Times) -> Mapping[str, str]:
    around = [
        *(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in APACHE_LOADS),
        f"ServerRoot {front.directory}",
        f"PidFile {front.directory}/pid",
        f"DefaultRuntimeDir {front.directory}",
        f"ServerName {NAME}",
        "ErrorLog /dev/stderr",
        f"Listen {LOOPBACK}:{front.plain_port}",
        f"Listen {LOOPBACK}:{front.port}",
        *(["User www-data", "Group www-data"] if os.geteuid() == 0 else []),
    ]
    return {
        "# Apache 2.4, as": "\n".join([*around, "#"]),
        "*:80": f"*:{front.plain_port}",
        "*:443": f"*:{front.port}",
        "rita.example\n": f"{NAME}\n",
        "https://rita.example/": f"https://{NAME}/",
        "/etc/ssl/rita.example/fullchain.pem": str(certificate.certificate),
        "/etc/ssl/rita.example/privkey.pem": str(certificate.key),
        "/var/log/apache2/access.log": str(front.access_log),
        "127.0.0.1:8000": f"{LOOPBACK}:{upstream}",
        "timeout=60": f"timeout={times.idle * 1000:.0f}ms",
    }


NGINX = Kind("nginx", "nginx.conf", "nginx-light", ("nginx", "-e", "stderr", "-c", "{file}"), signal.SIGHUP, _nginx)
CADDY = Kind(
    "Caddy",
    "Caddyfile",
    "caddy",
    ("caddy", "run", "--config", "{file}", "--adapter", "caddyfile"),
    (
        "caddy",
        "reload",
        "--force",
        "--config",
        "{file}",
        "--adapter",
        "caddyfile",
        "--address",
        "127.0.0.1:{admin_port}",
    ),
    _caddy,
    reload_ends_streams=False,
)
HAPROXY = Kind(
    "HAProxy",
    "haproxy.cfg",
    "haproxy",
    ("haproxy", "-W", "-db", "-f", "{file}"),
    signal.SIGUSR2,
    _haproxy,
    "output.log",
)
APACHE = Kind(
    "Apache",
    "apache.conf",
    "apache2-bin",
    ("apache2", "-DFOREGROUND", "-f", "{file}"),
    signal.SIGUSR1,
    _apache,
    reload_ends_streams=False,
)
KINDS = (NGINX, CADDY, HAPROXY, APACHE)
