"""Which process uses which of the settings that are secrets, or lead to where something is.

A process demands what it uses, and keeps nothing of the rest, even where it is set. The table in SECURITY.md says the
same; tests hold compose and the Kubernetes manifests against it.
"""

from __future__ import annotations

from collections.abc import Mapping

TOKEN_VERIFICATION_SETTINGS = frozenset({"jwt_secret", "jwt_public_key", "jwt_jwks_url"})
_WEBHOOK_TARGET_SETTINGS = frozenset({"automation_webhook_url", "automation_auth", "webhook_signing_secret"})
_SERVER_URL_SETTINGS = frozenset({"database_url", "rabbitmq_url", "redis_url"})
_OTHER_RESTRICTED_SETTINGS = {"seal_keys", "metrics_token", "migration_database_url", "rabbitmq_management_url"}
RESTRICTED_SETTINGS = frozenset().union(
    _SERVER_URL_SETTINGS, TOKEN_VERIFICATION_SETTINGS, _WEBHOOK_TARGET_SETTINGS, _OTHER_RESTRICTED_SETTINGS
)

# `flask --app app …`: a release uses the database alone, and each command asks for what else it uses.
COMMANDS_PROCESS = "commands"
# By the Procfile's names.
SETTINGS_USED_BY: Mapping[str, frozenset[str]] = {
    "web": _SERVER_URL_SETTINGS | TOKEN_VERIFICATION_SETTINGS | {"seal_keys", "metrics_token"},
    "worker": _SERVER_URL_SETTINGS | {"metrics_token"},
    "webhook_worker": _SERVER_URL_SETTINGS | _WEBHOOK_TARGET_SETTINGS | {"seal_keys", "metrics_token"},
    "beat": frozenset({"rabbitmq_url"}),
    "flower": frozenset({"rabbitmq_url"}),
    "release": frozenset({"database_url", "migration_database_url"}),
    COMMANDS_PROCESS: frozenset({"database_url"}),
}


def settings_unused_by(process: str) -> frozenset[str]:
    """Return the guarded settings that a process drops; a command may use any that is set."""
    if process == COMMANDS_PROCESS:
        return frozenset()
    return RESTRICTED_SETTINGS - SETTINGS_USED_BY.get(process, RESTRICTED_SETTINGS)


def environment_for_process(process: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what the process does not use, under either name."""
    unused = {name.upper() for name in settings_unused_by(process)}
    return {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in unused}
