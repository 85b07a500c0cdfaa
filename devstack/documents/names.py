"""Paths and names in documents: each must be of a file of the project, or occur in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
SKIPPED = {".git", ".venv", ".local", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
SOURCES = r"(py|md|ya?ml|sh|ts|js|mjs|toml|json|jsonl|svg|conf|cfg|txt|java)"
FILE = re.compile(rf"(?:[\w.*-]+/)*[\w*-][\w.*-]*\.{SOURCES}")
NAME = re.compile(
    r"(?<![\w./:-])[A-Za-z][a-z0-9]*(?:_[A-Za-z0-9]+)+(?![\w-])|(?<![\w./:-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w-])"
)
# Of other programs, and of what somebody makes while they follow a page.
FOREIGN = frozenset({
    "rita_restored", "pg_stat_statements", "huge_pages_status", "full_page_writes", "pool_pre_ping", "every_step",
})  # fmt: skip


def problems(span: str, *, beside: Path) -> Iterator[str]:
    """Yield what is wrong with a span of code in a document of this folder."""
    if span.split("/", maxsplit=1)[0] in SKIPPED:
        return
    if FILE.fullmatch(span) or re.fullmatch(rf"(?:{'|'.join(_folders())})/[\w./*-]*", span):
        if not _is_there(span, beside):
            yield f"there is no file {span}"
        return
    for name in NAME.findall(span):
        if not {name, name.lower(), name.removesuffix("_FILE").lower()} & (_words() | FOREIGN):
            yield f"nothing is called {name}"


def _is_there(path: str, beside: Path) -> bool:
    if any(found for folder in (PROJECT, beside) for found in folder.glob(path.rstrip("/"))):
        return True
    return "/" not in path and path in {file.name for file in files()}


@cache
def files() -> tuple[Path, ...]:
    """Return the project's files, without what is installed, cached or made by a run."""
    found: list[Path] = []
    folders = [PROJECT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir() and path.name not in SKIPPED:
                folders.append(path)
            elif path.is_file():
                found.append(path)
    return tuple(found)


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted({file.relative_to(PROJECT).parts[0] for file in files()} - {"README.md"}))


@cache
def _words() -> frozenset[str]:
    words: set[str] = set()
    for file in files():
        if file.suffix not in (".md", ".png", ".svg", ".txt"):
            words.update(re.findall(r"\w+", file.read_text(errors="replace")))
    return frozenset(words)
