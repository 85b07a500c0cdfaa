"""`make containers` where it cannot run: it says so, and fails nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.child import StartError
from tests.containers import bases, places
from tests.project import PROJECT


def test_without_podman_it_says_so_in_capitals_in_ci_and_ends_well(tmp_path: Path) -> None:
    environ = os.environ | {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CI": "true"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.containers"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("THE CONTAINERS ARE LEFT OUT: ")
    assert list(tmp_path.iterdir()) == []


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(StartError, match="only root"):
        places.demand_what_is_needed()


def test_every_image_that_is_not_ours_can_be_made() -> None:
    names = {name for base in bases.wanted() for name in base.names}

    assert {name.partition(":")[0] for name in names} == {"python", "postgres", "redis", "rabbitmq"}
    assert len({base.archive for base in bases.wanted()}) == len(bases.wanted())


def test_the_tests_are_skipped_outside_of_it() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/containers"]
    environ = {name: value for name, value in os.environ.items() if name != places.INSIDE}

    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stdout
    assert "`make containers` runs these" in done.stdout
