"""Node, for what is published to authors who write TypeScript; its packages are installed into a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
# The specification's own parser; no author of a service needs it.
ASYNCAPI_PARSER = "@asyncapi/parser@3.6.3"
QUIET = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]

# Two hundred packages from a registry, on a machine that does other things too; a test that needs them waits longer.
INSTALLED_WITHIN = 240
needs_node = pytest.mark.timeout(INSTALLED_WITHIN + 120)

RunNode = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def node_folder() -> Iterator[Path]:
    """A copy of the examples with their packages installed; skipped, loudly, without Node."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        _do_without(f"{' and '.join(missing)} not on the PATH")
    with tempfile.TemporaryDirectory(prefix="rita-node-") as made:
        folder = Path(made) / "examples"
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("node_modules", "package-lock.json"))
        command = ["npm", "install", *QUIET, ASYNCAPI_PARSER]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALLED_WITHIN, check=False
        )
        if done.returncode != 0:
            _do_without(f"npm cannot install the examples' packages: {done.stderr[-500:]}")
        yield folder


@pytest.fixture(scope="session")
def run_node(node_folder: Path) -> RunNode:
    """Run a module's text on Node, beside the examples and their packages."""

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        file = node_folder / "script.mjs"
        file.write_text(script)
        command = ["node", str(file), *arguments]
        return subprocess.run(command, cwd=node_folder, capture_output=True, text=True, timeout=60, check=False)

    return run


def _do_without(reason: str) -> None:
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason)
