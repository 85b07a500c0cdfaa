"""Blocks of code in documents: each says its language, and parses in it."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Callable, Mapping

import yaml

from devstack.documents.markdown import Block

# No parser of ours reads these, or there is nothing to parse.
UNPARSED = frozenset({"text", "sql", "nginx", "log"})
# Compiled by the tests.
COMPILED = frozenset({"ts", "tsx", "js"})


def problem(block: Block) -> str | None:
    """Return what is wrong with a block, or None."""
    if block.language in UNPARSED | COMPILED:
        return None
    if block.language not in PARSERS:
        return f"a block in {block.language or 'no language'}: known are {', '.join(sorted(KNOWN))}"
    try:
        PARSERS[block.language](block.text)
    except (ValueError, SyntaxError, yaml.YAMLError) as wrong:
        return f"no {block.language}: {' '.join(str(wrong).split())}"
    return None


def _shell(text: str) -> None:
    done = subprocess.run(["/bin/sh", "-n"], input=text, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise ValueError(done.stderr)


PARSERS: Mapping[str, Callable[[str], object]] = {
    "sh": _shell,
    "python": ast.parse,
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
KNOWN = PARSERS.keys() | UNPARSED | COMPILED
