"""What `make run`, and the images of the demo and the conformance command, run needs nothing but what they install."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.project import PROJECT

# Ends as the image would where a package is missing, with the first module that is not in its lock files.
SCRIPT = """
import importlib, importlib.metadata, sys

installed = set(sys.argv[2:])
known = importlib.metadata.packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        owners = {owner.lower().replace("_", "-") for owner in known.get(name.partition(".")[0], ())}
        if owners and not owners & installed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("module", "lock", "absent"),
    [
        ("devstack.demo", "demo.txt", "psutil"),
        ("devstack.conformance.__main__", "demo.txt", "psutil"),
        ("devstack.run", "run.txt", "pytest"),
    ],
)
def test_a_command_has_what_it_imports(module: str, lock: str, absent: str) -> None:
    locks = "".join((PROJECT / "locks" / name).read_text() for name in ("production.txt", lock))
    installed = re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", locks, re.MULTILINE)
    assert "pyyaml" in installed
    assert absent not in installed

    command = [sys.executable, "-c", SCRIPT, module, "rita-data-sources", *installed]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr[-1000:]
