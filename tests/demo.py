"""What docker/demo.sh does, without a Docker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.project import PROJECT


def made_by_the_script(folder: Path) -> tuple[dict[str, str], str]:
    """Run docker/demo.sh with a program in Docker's place; return its file and the words that it was given."""
    (folder / "docker").mkdir(exist_ok=True)
    (folder / "docker/demo.sh").write_text((PROJECT / "docker/demo.sh").read_text())
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >{folder}/words\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    subprocess.run(["sh", folder / "docker/demo.sh"], check=True, env=os.environ | {"PATH": path}, timeout=30)
    lines = (folder / ".env.demo").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines), (folder / "words").read_text().strip()
