"""An earlier release beside this one, each with the packages that it pins and no others, on the same servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.stage import PROJECT, Stage
from devstack.child import StartError

# What is made once and kept: sources and environments, by commit.
KEPT = PROJECT / ".local" / "bench"


@contextmanager
def side_by_side(prepared: Stage, commit: str) -> Iterator[Stage]:
    """Yield a stage of this release with another beside it, each with a database of its own. Raises StartError."""
    revision = _call("git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", at=PROJECT).strip()
    with ExitStack() as opened:
        ours = _of(prepared, PROJECT, _packages(PROJECT, KEPT / "ours"))
        theirs = _of(prepared, *_kept(revision))
        beside = (commit, opened.enter_context(theirs.another_database()))
        yield replace(opened.enter_context(ours.another_database()), beside=beside)


def _of(prepared: Stage, tree: Path, packages: Path) -> Stage:
    path = f"{packages / 'bin'}:{prepared.environ['PATH']}"
    return replace(prepared, tree=tree, environ={**prepared.environ, "PATH": path})


def _kept(revision: str) -> tuple[Path, Path]:
    """Return the sources of a commit and an environment for it."""
    tree = KEPT / revision[:12] / "tree"
    if not tree.exists():
        tree.mkdir(parents=True)
        archive, unpacked = ("git", "archive", "--format=tar", revision), ("tar", "-x", "-C", str(tree))
        with subprocess.Popen(archive, cwd=PROJECT, stdout=subprocess.PIPE) as packing:
            subprocess.run(unpacked, stdin=packing.stdout, check=True)
    return tree, _packages(tree, KEPT / revision[:12] / "packages")


def _packages(tree: Path, place: Path) -> Path:
    """Make or renew an environment with what a release pins for production."""
    python = str(place / "bin" / "python")
    if not place.exists():
        _call(sys.executable, "-m", "venv", str(place), at=tree)
    pip, locked = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"), tree / "locks"
    if locked.exists():
        _call(*pip, "--require-hashes", "-r", str(locked / "production.txt"), at=tree)
    else:
        _call(*pip, "-c", "constraints.txt", "-e", ".", at=tree)
    return place


def _call(*command: str, at: Path) -> str:
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(f"{' '.join(command)}: {done.stderr.strip()[-500:] or 'failed'}")
    return done.stdout
