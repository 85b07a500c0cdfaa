"""A Python client that a generator makes of the served document, without a warning, as others would make theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.project import do_without
from tests.receiver import Receiver
from tests.waiting import eventually

NAME = "rita_data_sources_client"
CONFIG = {"spaces": "ENG", "nested": {"list": [1, None, {"deep": True}], "empty": {}}}


def run(folder: Path, *words: str) -> str:
    environ = os.environ | {
        # The generator formats what it writes with the ruff of this environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
    }
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def generated(rita: Processes, tmp_path: Path) -> Path:
    """The client's folder; a call that the generator does not understand is left out with a warning, which fails."""
    if find_spec("openapi_python_client") is None:
        do_without("openapi-python-client is not installed")
    document = f"{rita.base_url}/api/openapi.json"
    options = ["--meta", "none", "--fail-on-warning", "--output-path", str(tmp_path / NAME)]
    run(tmp_path, "-m", "openapi_python_client", "generate", "--url", document, *options)
    return tmp_path


def test_a_generated_client_configures_changes_and_verifies(
    rita: Processes, ada: Person, external: Receiver, generated: Path
) -> None:
    token = ada.headers["Authorization"].removeprefix("Bearer ")

    press = str(Path(__file__).with_name("press.py"))
    answers: dict[str, Any] = json.loads(run(generated, press, rita.base_url, token, json.dumps(CONFIG)))

    assert answers["seeded"]["created"] == 4
    assert answers["configured"]["data"]["config"] == CONFIG
    assert (answers["changed"]["data"]["name"], answers["changed"]["data"]["config"]) == ("Wiki", CONFIG)
    assert answers["verifying"]["status"] == "verifying"
    asked = eventually(lambda: external.received)[0].json
    assert (asked["action"], asked["settings"]) == ("verify_credentials", {"spaces": "ENG"})
