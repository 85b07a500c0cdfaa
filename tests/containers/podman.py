"""Podman with a store of its own: the machine's own images, containers and networks are neither seen nor touched.

It runs in namespaces that `__main__` makes: networks, rules of the firewall, mounts and processes end with them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

from devstack.child import StartError
from tests.containers import places
from tests.containers.bases import Base

WITHIN = timedelta(minutes=5)
# What short names stand for.
REGISTRY = "docker.io/library"


def configure() -> None:
    """Write podman's configuration, and lead this process and its children to it."""
    folder = places.cache() / "configuration"
    folder.mkdir(parents=True, exist_ok=True)
    # Its defaults may be more than the machine allows.
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    ulimits = [f"{name}={soft}:{hard}" for name, (soft, hard) in
               {name: resource.getrlimit(number) for name, number in limits.items()}.items()]  # fmt: skip
    store, running = places.cache() / "store", places.running()
    (folder / "containers.conf").write_text(f"""\
[containers]
default_ulimits = {json.dumps(ulimits)}
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{running}/libpod"
volume_path = "{running}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{running}/networks"
""")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{store}"\nrunroot = "{running}/storage"\n'
    )
    (folder / "registries.conf").write_text(
        'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
    )
    os.environ |= {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "PATH": places.PATH,
        # There is no systemd to run health checks by the clock.
        "DISABLE_HC_SYSTEMD": "true",
    }


def podman(*words: str, within: timedelta = WITHIN, both: bool = False) -> str:
    """Run podman and return what it prints, on `both` where asked. Raises StartError with what it complained about."""
    done = subprocess.run(
        ["podman", *words], capture_output=True, text=True, check=False, timeout=within.total_seconds()
    )
    if done.returncode:
        raise StartError(
            f"podman {' '.join(words[:3])}: exit code {done.returncode}: {done.stderr[-2000:]}{done.stdout[-500:]}"
        )
    return (done.stdout + (done.stderr if both else "")).strip()


def succeeds(*words: str) -> bool:
    """Tell whether podman ends with 0."""
    return subprocess.run(["podman", *words], capture_output=True, check=False, timeout=60).returncode == 0


def has_image(name: str) -> bool:
    """Tell whether it is in the store."""
    return succeeds("image", "exists", name)


def inspect(container: str) -> dict[str, Any]:
    """Return what podman knows about a container."""
    (found,) = json.loads(podman("container", "inspect", container))
    return dict(found)


def take_in(base: Base) -> None:
    """See that a base is in the store; of its archive only an empty file stays, which says that it was taken in."""
    if not base.archive.stat().st_size:
        if has_image(f"{REGISTRY}/{base.names[0]}"):
            return
        base.archive.unlink()
        raise StartError(f"{base.names[0]} has gone from the store: run this again.")
    changes = [word for change in base.changes for word in ("--change", change)]
    podman("import", *changes, str(base.archive), f"{REGISTRY}/{base.names[0]}")
    for name in base.names[1:]:
        podman("tag", f"{REGISTRY}/{base.names[0]}", f"{REGISTRY}/{name}")
    base.archive.write_bytes(b"")


def build(name: str, *, context: Path, target: str | None = None, file: Path | None = None) -> None:
    """Build an image of ours, with packages from a folder in the place of a registry."""
    settings = places.cache() / "configuration" / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n")
    podman(
        *("build", "--isolation", "chroot", "--pull=never", "--layers", "--tag", name),
        *("--volume", f"{places.wheels()}:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro"),
        *(["--target", target] if target else []),
        *(["--file", str(file)] if file else []),
        str(context),
    )
