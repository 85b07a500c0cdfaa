"""How the tests are spread over processes: tried on a handful of tests of its own, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.project import PROJECT

# Each test writes down where and when it ran.
MODULE = """
import json, os, pathlib, threading, time, pytest

def noted(name):
    began = time.monotonic()
    threading.Event().wait(0.15)
    seen = {"name": name, "worker": os.environ["PYTEST_XDIST_WORKER"], "began": began, "ended": time.monotonic()}
    pathlib.Path(os.environ["NOTES"], name).write_text(json.dumps(seen))
"""
ORDINARY = """
@pytest.mark.parametrize("number", range(3))
def test_ordinary(number):
    noted(f"{__name__}-{number}")
"""
ALONE = """
@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    noted(f"{__name__}-alone-{number}")
"""


def run(folder: Path, modules: dict[str, str], *options: str) -> list[dict[str, Any]]:
    """Run modules in two processes, and return what their tests wrote down."""
    notes = folder / "notes"
    notes.mkdir()
    (folder / "conftest.py").write_text('pytest_plugins = ("tests.side_by_side",)\n')
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(MODULE + text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist.plugin", "-n", "2", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "NOTES": str(notes),
            "PYTHONPATH": str(PROJECT),
            # What else is installed takes seconds to load, in three processes.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(note.read_text()) for note in notes.iterdir()]


def test_a_module_stays_in_one_process_and_two_modules_run_side_by_side(tmp_path: Path) -> None:
    seen = run(tmp_path, {"one": ORDINARY, "two": ORDINARY})

    workers = {module: {note["worker"] for note in seen if module in note["name"]} for module in ("one", "two")}
    assert len(seen) == 6
    assert [len(each) for each in workers.values()] == [1, 1]
    assert workers["one"] != workers["two"]


@pytest.mark.parametrize("options", [[], ["-k", "alone or test_one"]], ids=["among many", "among few"])
def test_what_runs_alone_runs_when_all_others_have_ended_one_at_a_time(tmp_path: Path, options: list[str]) -> None:
    seen = run(tmp_path, {"one": ORDINARY + ALONE, "two": ORDINARY, "three": ALONE}, *options)

    alone = sorted((note for note in seen if "alone" in note["name"]), key=lambda note: note["began"])
    others = [note for note in seen if note not in alone]
    assert len(alone) == 4
    assert others
    assert max(note["ended"] for note in others) <= alone[0]["began"]
    assert all(first["ended"] <= then["began"] for first, then in pairwise(alone))
