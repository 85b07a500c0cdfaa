"""What needs the network: Debian's packages, Docker Compose and the locked Python packages. Each is fetched once."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from devstack import debian
from devstack.child import StartError
from tests.containers import places
from tests.containers.bases import SUITE, Base
from tests.project import PROJECT

# Of the images' C library, newest first.
OLDEST, NEWEST = 17, 41
LOCKS = ("production", "demo")
# What the previous release needed besides.
PREVIOUS = "uuid-utils==1.2.0"


def prepare(wanted: Iterable[Base]) -> None:
    """See that everything is there. Raises StartError, with a sentence, where it cannot be had."""
    wanted = list(wanted)
    if missing := [base for base in wanted if not base.archive.exists()]:
        print(f"Making {', '.join(base.names[0] for base in missing)} of Debian's packages.", flush=True)
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(Base.make, missing):
                pass
    debian.unpack_packages(["docker-compose"], suite=SUITE, folder=places.cache() / "compose")
    _fetch_wheels(python=wanted[0].packages[0].removeprefix("python"))


def _fetch_wheels(*, python: str) -> None:
    locks = [PROJECT / "locks" / f"{name}.txt" for name in LOCKS]
    key = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + (python + PREVIOUS).encode()).hexdigest()
    done = places.cache() / "wheels.key"
    if done.exists() and done.read_text() == key:
        return
    print("Fetching the locked packages.", flush=True)
    shutil.rmtree(places.wheels(), ignore_errors=True)
    platforms = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in range(NEWEST, OLDEST - 1, -1)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    # The locks name everything, so nothing has to be resolved; what has no wheel is taken as it is.
    options = ["--no-deps", f"--python-version={python}", *platforms, "--dest", places.wheels()]
    for words in (*(["--require-hashes", "-r", lock] for lock in locks), [PREVIOUS]):
        command = [*pip, *options, *words]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if fetched.returncode:
            raise StartError(f"the locked packages cannot be fetched: {fetched.stderr.strip().splitlines()[-1]}")
    done.write_text(key)
