"""What is published in TypeScript, with its packages installed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node import DOCS, installed, run

EXAMPLES = DOCS / "examples"
# The specification's own parser; no author of a service needs it.
ASYNCAPI_PARSER = "@asyncapi/parser@3.6.3"

RunNode = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def node_folder() -> Iterator[Path]:
    """A copy of the examples with their packages."""
    with installed(EXAMPLES, ASYNCAPI_PARSER) as folder:
        yield folder


@pytest.fixture(scope="session")
def run_node(node_folder: Path) -> RunNode:
    """Run a module's text on Node, beside the examples and their packages."""

    def run_text(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        file = node_folder / "script.mjs"
        file.write_text(script)
        return run(node_folder, "node", str(file), *arguments)

    return run_text
