"""Where the project is, for tests that read its files or start its processes, and how to do without a program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def program(name: str, *, of: str = "", elsewhere: str = "") -> str:
    """Return where a program of the system is; without it, skip the test or fail. `of` says what brings it."""
    found = shutil.which(name, path=os.pathsep.join(filter(None, [os.environ["PATH"], elsewhere])))
    if found is None:
        do_without(f"no {name} on the PATH{of and f'; it is part of {of}'}")
    return found


def do_without(reason: str) -> NoReturn:
    """Skip a test for want of something, loudly; fail it where REQUIRE_SERVICES says that nothing may be wanting."""
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason)


def replace_between(page: Path, begin: str, end: str, text: str) -> None:
    """Write the text between a page's two markers."""
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
