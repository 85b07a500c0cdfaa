"""The images that compose and the Dockerfile begin with, where no registry gives them: made of Debian's packages.

They have the official images' names, and entry points that do what compose relies on. Their versions are Debian's.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from devstack import debian
from tests.containers import places
from tests.project import PROJECT

# The newest, which has the versions that the tags name.
SUITE = "forky"
ENTRYPOINTS = Path(__file__).with_name("entrypoints")
# What no dependency brings, and every image of Debian's has.
# fmt: off
ESSENTIAL = [
    "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "diffutils",
    "findutils", "grep", "gzip", "hostname", "libc-bin", "login", "mawk", "ncurses-base", "passwd",
    "perl-base", "sed", "sysvinit-utils", "tar", "util-linux",
]
# fmt: on
# No script of a package's runs, so what those would have made is made here.
ACCOUNTS = {"postgres": 999, "rabbitmq": 998, "redis": 997}
LEFT_OUT = ("doc", "man", "info", "locale")
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The management page, and what the official image says about it; its log is what a container shows.
RABBITMQ = {
    "etc/rabbitmq/enabled_plugins": "[rabbitmq_management,rabbitmq_prometheus].\n",
    "etc/rabbitmq/conf.d/10-defaults.conf": "loopback_users.guest = false\nlog.console = true\n",
}


@dataclass(frozen=True)
class Base:
    """One image: its names, the packages that it is made of, and what it is set to."""

    names: tuple[str, ...]
    packages: tuple[str, ...]
    command: str
    environment: Mapping[str, str]
    files: Mapping[str, str]
    stop_signal: str = "SIGTERM"

    @property
    def archive(self) -> Path:
        """Its files, until podman has them; another recipe makes another one."""
        recipe = "".join(map(repr, (self, SUITE, ESSENTIAL, ACCOUNTS, LEFT_OUT, inspect.getsource(_prepare))))
        key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return places.cache() / f"{re.sub(r'[^a-z0-9.]+', '-', self.names[0])}-{key}.tar"

    @property
    def changes(self) -> list[str]:
        """What podman is to note about the image."""
        variables = {"PATH": SEARCHED, "LANG": "C.UTF-8"} | self.environment
        return [
            *(f"ENV {name}={value}" for name, value in variables.items()),
            *(['ENTRYPOINT ["docker-entrypoint.sh"]'] if "usr/local/bin/docker-entrypoint.sh" in self.files else []),
            f'CMD ["{self.command}"]',
            f"STOPSIGNAL {self.stop_signal}",
        ]

    def make(self) -> None:
        """Make the archive. Raises StartError where Debian's packages cannot be had."""
        with TemporaryDirectory(dir=places.cache(), prefix="making-") as work:
            root, made = Path(work) / "root", Path(work) / "made.tar"
            debian.unpack(debian.download([*ESSENTIAL, *self.packages], suite=SUITE, work=Path(work)), root=root)
            for folder in LEFT_OUT:
                shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
            _prepare(root)
            for name, text in self.files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
                (root / name).chmod(0o755)
            subprocess.run(["tar", "-C", str(root), "-cf", str(made), "."], check=True)
            made.rename(self.archive)


def _prepare(root: Path) -> None:
    """Make what Debian's packages make when they are installed, as far as it is used."""
    for name, rest in (("passwd", ":{0}::/var/lib/{1}:/bin/sh"), ("group", ":")):
        master = (root / f"usr/share/base-passwd/{name}.master").read_text().replace(":*:", ":x:")
        own = [f"{user}:x:{number}" + rest.format(number, user) for user, number in ACCOUNTS.items()]
        (root / "etc" / name).write_text(master + "\n".join(own) + "\n")
    (root / "etc/shadow").touch(mode=0o640)
    (root / "usr/bin/awk").symlink_to("mawk")
    (root / "usr/local/bin").mkdir(parents=True)
    # A package that has something in it makes a folder of what base-files has as a link.
    if not (root / "var/run").is_symlink():
        shutil.rmtree(root / "var/run", ignore_errors=True)
        (root / "var/run").symlink_to("/run")
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(each.read_text() for each in authorities))
    for python in (root / "usr/bin").glob("python3.[0-9]*"):
        for name in ("python", "python3"):
            (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{python.name}")


def wanted() -> list[Base]:
    """Return what the Dockerfile and compose name, and what pytest-celery does."""
    (python,) = re.findall(r"^ARG PYTHON=(\S+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    images = {name: str(services[name]["image"]) for name in ("postgres", "redis", "rabbitmq")}
    minor = ".".join(python.split(".")[:2])
    postgres = re.findall(r":(\d+)", images["postgres"])[0]
    return [
        # apt, which no image needs here, is why the official one has the C++ library.
        Base((f"python:{python}",), (f"python{minor}", f"python{minor}-venv", "libstdc++6"), "python3", {}, {}),
        Base(
            (images["postgres"],),
            (f"postgresql-{postgres}",),
            "postgres",
            {
                "PATH": f"/usr/lib/postgresql/{postgres}/bin:{SEARCHED}",
                "PGDATA": f"/var/lib/postgresql/{postgres}/docker",
            },
            _entrypoint("postgres"),
            # The official image's: to end at once, in order, whoever is connected.
            stop_signal="SIGINT",
        ),
        Base((images["redis"],), ("redis-server",), "redis-server", {}, _entrypoint("redis")),
        Base(
            (images["rabbitmq"], "rabbitmq:latest"),
            ("rabbitmq-server",),
            "rabbitmq-server",
            {"PATH": f"/usr/lib/rabbitmq/bin:{SEARCHED}", "HOME": "/var/lib/rabbitmq"},
            _entrypoint("rabbitmq") | RABBITMQ,
        ),
    ]


def _entrypoint(name: str) -> dict[str, str]:
    return {"usr/local/bin/docker-entrypoint.sh": (ENTRYPOINTS / f"{name}.sh").read_text()}
