"""Which process uses which of the settings that are secrets, or lead to where something is.

A process demands what it uses, and keeps nothing of the rest, even where it is set. The table in SECURITY.md says the
same; tests hold compose and the Kubernetes manifests against it.
"""

from __future__ import annotations

from collections.abc import Mapping

TOKEN_KEYS = frozenset({"jwt_secret", "jwt_public_key", "jwt_jwks_url"})
_RECEIVER = frozenset({"automation_webhook_url", "automation_auth", "webhook_signing_secret"})
_SERVERS = frozenset({"database_url", "rabbitmq_url", "redis_url"})
GUARDED = (
    _SERVERS
    | TOKEN_KEYS
    | _RECEIVER
    | {"seal_keys", "metrics_token", "migration_database_url", "rabbitmq_management_url"}
)

# `flask --app app …`: a release uses the database alone, and each command asks for what else it uses.
COMMANDS = "commands"
# By the Procfile's names.
USES: Mapping[str, frozenset[str]] = {
    "web": _SERVERS | TOKEN_KEYS | {"seal_keys", "metrics_token"},
    "worker": _SERVERS | {"metrics_token"},
    "webhook_worker": _SERVERS | _RECEIVER | {"seal_keys", "metrics_token"},
    "beat": frozenset({"rabbitmq_url"}),
    "flower": frozenset({"rabbitmq_url"}),
    "release": frozenset({"database_url", "migration_database_url"}),
    COMMANDS: frozenset({"database_url"}),
}


def unused_by(process: str) -> frozenset[str]:
    """Return the guarded settings that a process drops; a command may use any that is set."""
    return frozenset() if process == COMMANDS else GUARDED - USES.get(process, GUARDED)


def environment_of(process: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what the process does not use, under either name."""
    unused = {name.upper() for name in unused_by(process)}
    return {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in unused}
