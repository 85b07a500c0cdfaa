"""Install what a lock pins, by hash, and say how far it is: `python devstack/install.py locks/run.txt`.

Nothing is installed yet when this runs: it takes nothing but the standard library.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes")
# What pip says once for each line of a lock, in this order.
LOOKED_AT = ("Collecting ", "Requirement already satisfied: ", "Ignoring ")


def install(lock: Path) -> int:
    """Run pip, count what it has looked at where a person sees it; return its exit code. Its errors are its own."""
    count, pinned, is_seen = 0, len(re.findall(r"^[\w.-]+.*==", lock.read_text(), re.MULTILINE)), sys.stdout.isatty()
    with subprocess.Popen([*PIP, "-r", str(lock)], stdout=subprocess.PIPE, text=True) as pip:
        for line in pip.stdout or ():
            count += line.startswith(LOOKED_AT)
            if is_seen:
                print(f"\r  {count} of {pinned} packages", end="", flush=True)
            if is_seen and line.startswith("Installing "):
                print(" found; unpacking them", end="", flush=True)
    if is_seen:
        print()
    return pip.returncode


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
