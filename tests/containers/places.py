"""Where what is built is kept, and whether it can be: the sentences that say why not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from devstack import debian
from devstack.child import StartError

# Memory of the run's own in there, in the place of the machine's: podman has locks and names of networks in them.
PRIVATE = ("/run", "/dev/shm")  # noqa: S108 - to be covered
# Set for the tests, in the namespaces in which they may run.
INSIDE = "RITA_CONTAINERS_INSIDE"
PROGRAMS = ("podman", "runc", "conmon", "iptables", "unshare", "tar")
# Podman looks there for some of them; not every shell does.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def cache() -> Path:
    """Return the folder that all clones of this user share, beside what `make brokers` keeps."""
    return debian.cache_directory(os.environ) / "containers"


def running() -> Path:
    """Return where podman keeps what does not outlive a run: memory of the run's own, see `__main__`.

    A long name would keep containers from being started again: podman refuses one over 50 characters, but only then.
    """
    return Path("/run/rita")


def wheels() -> Path:
    """Return where the locked packages are, for the image's Python."""
    return cache() / "wheels"


def compose() -> Path:
    """Return Docker Compose itself, of which the reading of the file is used."""
    return cache() / "compose" / "libexec" / "docker" / "cli-plugins" / "docker-compose"


def demand_what_is_needed() -> None:
    """Raise StartError, with a sentence, where this machine cannot run containers."""
    if os.geteuid() != 0:
        raise StartError("only root may make the namespaces that the containers run in.")
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    missing += [name for name in ("netavark", "aardvark-dns") if not Path("/usr/lib/podman", name).exists()]
    if missing:
        sentence = f"there is no {', no '.join(missing)}."
        raise StartError(f"{sentence} Debian: apt install podman runc netavark aardvark-dns iptables.")
    if not debian.KEYRING.exists():
        raise StartError("this is no Debian, of whose packages the images are made.")
