"""What is installed is what was locked: the versions of constraints.txt, each file by its hash, from no named place."""

from __future__ import annotations

import re

import pytest

from devstack import install
from tests.project import PROJECT

SETS = ("production", "otel", "demo", "run", "dev", "bench")
# What constraints.txt leaves to the lock: what builds the project, what pip-audit needs, and other platforms' own.
BESIDES = {"setuptools", "pip", "async-timeout", "colorama", "pywin32", "tzdata"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


CONSTRAINTS = pins((PROJECT / "constraints.txt").read_text())


@pytest.mark.parametrize("name", SETS)
def test_every_package_of_a_lock_has_hashes_and_the_version_of_the_constraints(name: str) -> None:
    text = (PROJECT / "locks" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    locked = pins(text)
    assert {name: version for name, version in locked.items() if CONSTRAINTS.get(name) != version}.keys() <= BESIDES


def test_the_locks_leave_out_nothing_of_the_constraints() -> None:
    assert CONSTRAINTS.keys() <= pins((PROJECT / "locks" / "bench.txt").read_text()).keys()


def test_make_and_the_image_install_by_hash() -> None:
    for name in ("Makefile", "Dockerfile"):
        lines = [
            line for line in (PROJECT / name).read_text().splitlines() if "pip install" in line and " uv" not in line
        ]
        assert lines
        assert [line for line in lines if "--require-hashes" not in line and "--no-deps" not in line] == []
    assert "--require-hashes" in install.PIP
