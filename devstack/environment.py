"""The environment of the processes on a laptop: what is given stays, what is missing is made and kept."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.fernet import Fernet

from devstack.child import LOOPBACK, StartError
from devstack.ports import free_port, hold

# Standard Webhooks, "Signature scheme": between 24 and 64 random bytes.
SIGNING_KEY_BYTES = 32
SECRETS: Mapping[str, Callable[[], str]] = {
    "JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "SEAL_KEYS": lambda: Fernet.generate_key().decode(),
    "AUTOMATION_AUTH": lambda: f"Bearer {secrets.token_urlsafe(32)}",
    "WEBHOOK_SIGNING_SECRET": lambda: f"whsec_{base64.b64encode(secrets.token_bytes(SIGNING_KEY_BYTES)).decode()}",
    "METRICS_TOKEN": lambda: secrets.token_urlsafe(24),
    "FLOWER_BASIC_AUTH": lambda: f"rita:{secrets.token_urlsafe(16)}",
}
# Where people look first; another free one is taken where somebody else listens.
PORTS = {
    "PORT": 8000,
    "FLOWER_PORT": 5555,
    "EXTERNAL_SERVICE_PORT": 8090,
    "WORKER_METRICS_PORT": 9101,
    "WEBHOOK_WORKER_METRICS_PORT": 9102,
}


def complete_environment(given: Mapping[str, str], *, servers: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return the whole environment of the processes.

    Secrets are kept in the directory, so that links and encrypted credentials outlive a restart. What was added is
    written to its file `environment` too, for commands in another terminal. Raises StartError for a port that is taken.
    """
    added = {**servers, **_secrets(given, file=directory / "secrets.json"), **_ports(given)}
    stand_in = f"http://{LOOPBACK}:{added['EXTERNAL_SERVICE_PORT']}/webhook"
    added["AUTOMATION_WEBHOOK_URL"] = given.get("AUTOMATION_WEBHOOK_URL") or stand_in
    added["ENVIRONMENT"] = given.get("ENVIRONMENT") or "development"
    # `make run` activates no virtual environment, so that the processes must find its programs.
    added["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH") or os.defpath])
    added["PYTHONUNBUFFERED"] = "1"
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in added.items()]
    _write_private(directory / "environment", "".join(lines))
    return {**given, **added}


def _secrets(given: Mapping[str, str], *, file: Path) -> dict[str, str]:
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept = {name: kept.get(name) or make() for name, make in SECRETS.items()}
    _write_private(file, json.dumps(kept, indent=2))
    wanted = {name: given.get(name) or value for name, value in kept.items()}
    if given.get("JWT_PUBLIC_KEY") or given.get("JWT_JWKS_URL"):
        # The application takes one kind of key, and this one was chosen.
        del wanted["JWT_SECRET"]
    return wanted


def _ports(given: Mapping[str, str]) -> dict[str, str]:
    taken = [name for name in PORTS if given.get(name) and not (given[name].isdecimal() and hold(int(given[name])))]
    if taken:
        raise StartError("; ".join(f"{name}={given[name]} is not a free port" for name in taken) + ".")
    return {name: given.get(name) or str(free_port(usual)) for name, usual in PORTS.items()}


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
