"""Where a Docker engine would answer, and what pytest loads for it alone, which is a third of a process's start."""

from __future__ import annotations

import os
from pathlib import Path

PLUGINS = ("pytest_celery.plugin", "pytest_docker_tools.plugin")
# Where Docker's client looks if the environment does not say.
SOCKET = Path("/var/run/docker.sock")


def may_answer() -> bool:
    """Tell whether Docker's client would find something to ask."""
    return bool(os.environ.get("DOCKER_HOST")) or SOCKET.exists()
