"""docs/client/README.md leads from an empty project to code that compiles under the strictest rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.node import DOCS, INSTALLED_WITHIN, needs_node, run
from tests.project import PROJECT, do_without, program

README = (DOCS / "client" / "README.md").read_text()
ADVICE = README.partition("## From an empty project")[2].partition("\n## ")[0]
# As npm's own settings: nothing but packages is asked for.
QUIET = {"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_prefer_offline": "true"}
BUNDLED = {"module": "esnext", "moduleResolution": "bundler"}
ON_NODE = {"types": ["node"]}


def block(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nothing was done but what the README says, with each of its examples in a file."""
    for name in ("node", "npm"):
        program(name)
    folder = tmp_path_factory.mktemp("empty")
    (commands,) = block("sh", ADVICE)
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", f"{commands}\nnpm install --save-dev @types/node"],
        cwd=folder,
        env=os.environ | QUIET | {"RITA": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=INSTALLED_WITHIN,
        check=False,
    )
    if done.returncode != 0:
        do_without(f"npm cannot install what the README names: {done.stderr[-500:]}")
    for language in ("ts", "tsx"):
        for number, example in enumerate(block(language, README)):
            (folder / "src" / f"example-{number}.{language}").write_text(example)
    return folder


@needs_node
@pytest.mark.parametrize("changed", [{}, BUNDLED, ON_NODE], ids=["as it says", "with a bundler", "for Node, too"])
def test_an_empty_project_compiles_by_the_readme_alone(project: Path, changed: dict[str, Any]) -> None:
    (config,) = map(json.loads, block("json", ADVICE))
    config["compilerOptions"] |= changed
    (project / "tsconfig.json").write_text(json.dumps(config))

    done = run(project, "npx", "tsc", within=120)

    assert done.returncode == 0, done.stdout
    assert {each.suffix for each in (project / "src").glob("example-*")} == {".ts", ".tsx"}
