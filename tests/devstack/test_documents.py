"""What the check of the documents finds, and that their TypeScript and JavaScript compiles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.documents import blocks, markdown, names
from devstack.documents.__main__ import REFERRING, documents, misled, problems
from tests.devstack.conftest import RunNode
from tests.node import needs_node
from tests.project import PROJECT

Write = Callable[[str], Path]
# Put together, for this file is one in which a name may occur.
UNKNOWN = "unheard-of".replace("-", "_")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a document beside another one, which has headings."""
    (tmp_path / "other.md").write_text("# What is `there`\n\n## Twice\n\n## Twice\n")

    def written(text: str) -> Path:
        (tmp_path / "page.md").write_text(text)
        return tmp_path / "page.md"

    return written


def test_every_document_of_the_project_names_what_exists() -> None:
    assert [line for path in documents() for line in problems(path)] == []
    assert [line for path in names.files() if path.suffix in REFERRING for line in misled(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "[there](other.md), [heading](other.md#what-is-there), [second](other.md#twice-1), <https://rita.example/>",
        "# A page\n[here](#a-page) ![a picture of another page](other.md)",
        "`make check`, `flask --app app operations list --state pending`, `python -m devstack.conformance --json`",
        "`app/config.py`, `tests/unit/`, `migrations/versions/117_*.py`, `Settings`, `SEAL_KEYS`, `SEAL_KEYS_FILE`",
        "* an item\n\n    that goes on\n",
        "```sh\nmake test ARGS='-k retry' && echo $?\n```\n",
        "```json\n{}\n```\n```yaml\na: 1\n---\nb: 2\n```\n```python\nawait_ = 1\n```\n```text\nanything (\n```\n",
    ],
)
def test_what_is_there_is_passed(write: Write, text: str) -> None:
    assert list(problems(write(text))) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[away](missing.md)", "the link missing.md leads nowhere"),
        ("[away](other.md#nowhere)", "the link other.md#nowhere leads to no heading"),
        ("[away](#nowhere)", "the link #nowhere leads to no heading"),
        ("`app/no_such_file.py`", "there is no file app/no_such_file.py"),
        ("`domain/lifecycle.py`", "there is no file domain/lifecycle.py"),
        (f"`{UNKNOWN}`", f"nothing is called {UNKNOWN}"),
        (f"`{UNKNOWN.upper()}=1`", f"nothing is called {UNKNOWN.upper()}"),
        ("`make nothing`", "make has no target nothing"),
        ("```sh\nmake run && make nothing\n```\n", "make has no target nothing"),
        ("`flask --app app operations lost`", "flask has no command lost in operations"),
        ("`flask --app app operations list --loudly`", "flask list has no option --loudly"),
        ("`python -m devstack.nothing`", "there is no module devstack.nothing"),
        ("`python -m devstack.conformance --loudly`", "python -m devstack.conformance has no option --loudly"),
        ("text\n\n    a block\n", "an indented block: fence it, and say its language"),
        ("```\na block\n```\n", "a block in no language: known are js, json"),
        ("```sh\nif true\n```\n", "no sh: "),
        ("```python\nif true\n```\n", "no python: "),
        ("```json\n{,}\n```\n", "no json: "),
        ("```yaml\na: [\n```\n", "no yaml: "),
    ],
)
def test_what_is_not_there_is_named_with_its_place(write: Write, text: str, problem: str) -> None:
    path = write(text)

    (found,) = problems(path)

    assert problem in found
    assert found.startswith(f"{path}:")


def test_code_refers_to_documents_that_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = "docs"
    (tmp_path / folder / "decisions").mkdir(parents=True)
    (tmp_path / folder / "page.md").write_text("# A heading\n")
    (tmp_path / folder / "decisions" / "0001-one.md").write_text("# 1. One\n")
    monkeypatch.setattr(names, "PROJECT", tmp_path)
    good = [f"{folder}/page.md", f"{folder}/page.md#a-heading", f"{folder}/decisions/0001"]
    bad = [f"{folder}/gone.md", f"{folder}/page.md#nowhere", f"{folder}/decisions/0002"]
    (tmp_path / "code.py").write_text("\n".join([*good, *bad]))

    found = list(misled(tmp_path / "code.py"))

    assert [line.rpartition(" ")[2] for line in found] == bad


@pytest.mark.parametrize("page", sorted((PROJECT / "docs/decisions").glob("0*.md")), ids=lambda page: page.stem[:4])
def test_a_decision_is_a_page_of_context_decision_and_consequences(page: Path) -> None:
    text = page.read_text()

    assert re.findall(r"^\*\*(Context|Decision|Decision and consequences|Consequences)\.\*\*", text, re.MULTILINE) in (
        ["Context", "Decision", "Consequences"],
        ["Context", "Decision and consequences"],
    )
    assert len(text.splitlines()) < 50
    assert f"({page.name})" in (page.parent / "README.md").read_text()


COMPILE = """
import { transformSync } from 'esbuild';

const wrong = [];
for (const { name, language, text } of JSON.parse(process.argv[2])) {
  try {
    transformSync(text, { loader: language, logLevel: 'silent' });
  } catch (problem) {
    wrong.push(`${name}: ${problem.message}`);
  }
}
console.log(JSON.stringify(wrong));
"""


@needs_node
def test_every_block_of_typescript_and_javascript_compiles(run_node: RunNode) -> None:
    broken = {"name": "broken", "language": "ts", "text": "const x: = 1"}
    given = [
        {"name": f"{path.name}:{block.line}", "language": block.language, "text": block.text}
        for path in documents()
        for block in markdown.read(path).blocks
        if block.language in blocks.COMPILED
    ]

    done = run_node(COMPILE, json.dumps([*given, broken]))

    assert done.returncode == 0, done.stderr
    assert given
    (wrong,) = json.loads(done.stdout)
    assert wrong.startswith("broken: ")
