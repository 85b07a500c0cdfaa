"""`make containers`: the image is built, docker-compose.yml is brought up and pressed, and pytest-celery's tests run.

It needs no Docker: Debian's podman does it, in namespaces of its own for networks, mounts and processes, so that
nothing is left behind however it ends. Where that cannot be had it says so and ends well.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from devstack import signal_handling
from devstack.child import StartError, wait_until
from tests.containers import bases, places, prepared
from tests.project import PROJECT

TESTS = ("tests/containers", "tests/integration/test_celery_docker.py")
CGROUPS = Path("/sys/fs/cgroup")
GONE_WITHIN = timedelta(seconds=10)
# Of this machine's servers nothing is to be seen in there.
NOT_PASSED_ON = {"TEST_DATABASE_URL", "TEST_REDIS_URL", "TEST_RABBITMQ_URL", "DOCKER_HOST"}


def main(words: Sequence[str]) -> int:
    """Prepare what needs the network, and run the tests where there is none; return the exit code."""
    # As Ctrl-C does, so that what was started is ended.
    signal_handling.interrupt_on_signals()
    began = time.monotonic()
    places.cache().mkdir(parents=True, exist_ok=True)
    with (places.cache() / "lock").open("w") as lock:
        # Two at a time would share a store.
        fcntl.flock(lock, fcntl.LOCK_EX)
        prepared.prepare(bases.wanted())
        print(f"What needs the network was there after {time.monotonic() - began:.0f} s.", flush=True)
        before = set(_cgroups())
        try:
            _try_it()
            code = _run_tests(words)
        finally:
            # Podman leaves them; a process that was killed is in one for a moment.
            wait_until(lambda: _remove_cgroups(keep=before), within=GONE_WITHIN)
        left = [str(folder) for folder in set(_cgroups()) - before]
        left += [line for line in Path("/proc/mounts").read_text().splitlines() if str(places.cache()) in line]
        if left:
            print("Left behind:", *left, sep="\n  ")
        return code or int(bool(left))


def _run_tests(words: Sequence[str]) -> int:
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.containers.engine", "-n", "0"]
    return subprocess.run(_inside(*pytest, *TESTS, *words), cwd=PROJECT, env=_environment(), check=False).returncode


def _try_it() -> None:
    """Raise StartError where no container can be started, so that what cannot run here fails nothing."""
    command = _inside("-m", "tests.containers.engine")
    tried = subprocess.run(command, cwd=PROJECT, env=_environment(), capture_output=True, text=True, check=False)
    if tried.returncode:
        raise StartError(f"no container can be started here: {tried.stderr.strip()[-1000:]}")


def _inside(*python: str) -> list[str]:
    """Return the command that runs Python in namespaces of its own."""
    # The shell is the first process there, and takes all others along. Whoever looks for a RabbitMQ of the machine's
    # finds none: there is no other than the containers'.
    script = f"""
        for place in {" ".join(places.PRIVATE)}; do mount -t tmpfs tmpfs "$place" || exit; done
        ! installed=$(command -v rabbitmq-server) || mount --bind /dev/null "$installed" || exit
        "$@"
        exit $?
    """
    namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return ["unshare", *namespaces, "sh", "-c", script, "sh", sys.executable, *python]


def _environment() -> dict[str, str]:
    passed_on = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    return passed_on | {places.INSIDE: "1", "PATH": places.PATH}


def _remove_cgroups(*, keep: set[Path]) -> bool:
    for folder in sorted(set(_cgroups()) - keep, reverse=True):
        # Those that are in use cannot be removed.
        with suppress(OSError):
            folder.rmdir()
    return not set(_cgroups()) - keep


def _cgroups() -> list[Path]:
    return [found for parent in CGROUPS.glob("*/libpod_parent") for found in (parent, *parent.rglob("*/"))]


if __name__ == "__main__":
    try:
        places.demand_what_is_needed()
        sys.exit(main(sys.argv[1:]))
    except StartError as problem:
        sentence = f"The containers are left out: {problem}"
        # Nobody reads CI's output from end to end.
        print(sentence.upper() if os.environ.get("CI") else sentence, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
