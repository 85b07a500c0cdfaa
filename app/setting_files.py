"""Settings that stand in files, as orchestrators hand secrets over: the variable `NAME_FILE` names the file of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def read_settings_from_files(names: Collection[str], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings whose `NAME_FILE` names a file, as they stand in it, and what is wrong with such files."""
    given: dict[str, Any] = {}
    problems = []
    environment = {name.lower(): value for name, value in environ.items()}
    for name in names:
        path = environment.get(f"{name}_file")
        if not path:
            continue
        if environment.get(name):
            problems.append(f"  {name.upper()}_FILE: {name.upper()} is set, too; set one of them")
            continue
        try:
            given[name] = Path(path).read_text().strip()
        except OSError as problem:
            problems.append(f"  {name.upper()}_FILE: cannot be read: {problem.strerror}")
        except UnicodeError:
            problems.append(f"  {name.upper()}_FILE: is not a text in UTF-8")
    return given, problems
