"""Print what the documents name and is not there; the exit code is 1 if anything is printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from devstack.documents import blocks, commands, markdown, names

# Its entries tell what was: only its links must lead somewhere.
OF_THE_PAST = "CHANGELOG.md"
# What refers to documents; data does not.
REFERRING = {".py", ".ts", ".js", ".mjs", ".java", ".sh", ".yml", ".yaml", ".toml", ".example", ""}
REFERENCE = re.compile(r"\b(docs/[\w/-]+(?:\.md|/\d{4}(?![\w-])))(?:#([\w-]+))?")


def main() -> int:
    """Look at every document."""
    found = [line for path in documents() for line in problems(path)]
    found += [line for path in names.files() if path.suffix in REFERRING for line in misled(path)]
    for line in found:
        print(line)
    return int(bool(found))


def documents() -> list[Path]:
    """Return the Markdown files of the project."""
    return [file for file in names.files() if file.suffix == ".md"]


def problems(path: Path) -> Iterator[str]:
    """Yield a line for each thing that is wrong in a document, with the place where it stands."""
    document = markdown.read(path)
    where = path.relative_to(names.PROJECT) if path.is_relative_to(names.PROJECT) else path
    for number, problem in sorted(_problems(document)):
        yield f"{where}:{number}: {problem}"


def misled(path: Path) -> Iterator[str]:
    """Yield a line for each reference to a document, in a file that is none, that leads nowhere.

    A decision may be named by its number alone: `docs/decisions/0001`.
    """
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        for name, anchor in REFERENCE.findall(line):
            files = list(names.PROJECT.glob(f"{name}*" if name[-1].isdigit() else name))
            if not files or (anchor and anchor not in markdown.read(files[0]).anchors):
                yield f"{path.relative_to(names.PROJECT)}:{number}: there is no {name}{anchor and '#'}{anchor}"


def _problems(document: markdown.Document) -> Iterator[tuple[int, str]]:
    for number, link in document.links:
        if problem := _broken(link, document):
            yield number, problem
    for number in document.indented:
        yield number, "an indented block: fence it, and say its language"
    for block in document.blocks:
        if problem := blocks.problem(block):
            yield block.line, problem
    if document.path.name != OF_THE_PAST:
        yield from _unknown(document)


def _unknown(document: markdown.Document) -> Iterator[tuple[int, str]]:
    """Yield the files, names and commands that there are not."""
    for number, span in document.spans:
        for problem in (*names.problems(span, beside=document.path.parent), *commands.problems(span)):
            yield number, problem
    for block in document.blocks:
        if block.language == "sh":
            yield from ((block.line, problem) for problem in commands.problems(block.text))


def _broken(link: str, document: markdown.Document) -> str | None:
    """Return what is wrong with a link. What the network serves is not asked for."""
    target, _, anchor = unquote(link).partition("#")
    if "://" in target or target.startswith("mailto:"):
        return None
    file = document.path if not target else (document.path.parent / target).resolve()
    if not file.exists():
        return f"the link {link} leads nowhere"
    if anchor and (file.suffix != ".md" or anchor not in markdown.read(file).anchors):
        return f"the link {link} leads to no heading"
    return None


if __name__ == "__main__":
    sys.exit(main())
