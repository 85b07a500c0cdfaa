"""What stands in a Markdown file: blocks of code, spans of code, links and headings, each with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^( *)```+(\S*)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")
SPAN = re.compile(r"(`+)(.+?)\1")
LINK = re.compile(r"\[(?:[^\]\[]|!\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
LIST_ITEM = re.compile(r"^ *([-*]|\d+\.) ")


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its language, and the line that it begins on."""

    language: str
    text: str
    line: int


@dataclass
class Document:
    """A Markdown file, taken apart. Spans and links are pairs of a line's number and a text."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    spans: list[tuple[int, str]] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    indented: list[int] = field(default_factory=list)


def read(path: Path) -> Document:
    """Take a file apart."""
    document, prose = Document(path), []
    slugs: Counter[str] = Counter()
    lines = path.read_text().splitlines()
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if opened := FENCE.match(line):
            document.blocks.append(Block(opened[2], _body(numbered, len(opened[1])), number))
            prose.append("")
            continue
        if heading := HEADING.match(line):
            slug = slug_of(heading[1])
            document.anchors.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
            slugs[slug] += 1
        if line.startswith("    ") and _begins_a_block(prose):
            document.indented.append(number)
        prose.append(line)
        document.links += [(number, link[1]) for link in LINK.finditer(SPAN.sub("", line))]
    document.spans = list(_spans(path))
    return document


def slug_of(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def _body(numbered: Iterator[tuple[int, str]], indent: int) -> str:
    """Return the lines up to the end of a fence, without the indent of its beginning."""
    body = []
    for _, line in numbered:
        if FENCE.match(line):
            break
        body.append(line[indent:] if line[:indent].isspace() else line)
    return "\n".join(body) + "\n"


def _begins_a_block(prose: list[str]) -> bool:
    """Tell whether an indented line that comes next is a block of code, and not a paragraph of a list."""
    if not prose or prose[-1].strip():
        return False
    before = next((line for line in reversed(prose) if line.strip() and not line.startswith("  ")), "")
    return not LIST_ITEM.match(before)


def _spans(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the spans of code outside blocks; one may go on in the next line."""
    text = re.sub(r"^( *)```.*?^ *```+ *$", lambda block: "\n" * block[0].count("\n"), path.read_text(),
                  flags=re.MULTILINE | re.DOTALL)  # fmt: skip
    for paragraph in re.finditer(r"(?:[^\n]+\n?)+", text):
        for span in SPAN.finditer(paragraph[0].replace("\n", " ")):
            line = text.count("\n", 0, paragraph.start() + span.start()) + 1
            yield line, span[2].strip()
