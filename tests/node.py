"""Node, for what is published in TypeScript; its packages are installed into a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.project import PROJECT, do_without, program

DOCS = PROJECT / "docs"
QUIET = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]

# Two hundred packages from a registry, on a machine that does other things too; a test that needs them waits longer.
INSTALLED_WITHIN = 240
needs_node = pytest.mark.timeout(INSTALLED_WITHIN + 120)


@contextmanager
def installed(source: Path, *besides: str) -> Iterator[Path]:
    """Yield a copy of a folder with its packages, and others besides; skip the test, loudly, without Node."""
    for name in ("node", "npm"):
        program(name)
    with tempfile.TemporaryDirectory(prefix="rita-node-") as made:
        folder = Path(made) / source.name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules", "package-lock.json", "built"))
        done = run(folder, "npm", "install", *QUIET, *besides, within=INSTALLED_WITHIN)
        if done.returncode != 0:
            do_without(f"npm cannot install the packages of {source.name}: {done.stderr[-500:]}")
        yield folder


def run(folder: Path, *command: str, within: float = INSTALLED_WITHIN) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, and return how it ended."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=within, check=False)
