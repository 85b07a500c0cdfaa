"""The table of settings in docs/settings.md, written from `app/config.py` and the Procfile.

`python -m devstack.settings` writes it; `python -m devstack.drift`, part of `make check`, fails where it would change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from app import process_settings
from app.config import Settings

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "settings.md"
BEGIN, END = "<!-- written by `python -m devstack.settings`, from here -->", "<!-- to here -->"
HEAD = ("| setting | value | default | needed by | what it does |", "|---|---|---|---|---|")

# What the annotations in `app/config.py` are called on the page, by the first name that occurs in one.
KINDS = {
    "bool": "`on`, `off`",
    "SecondsList": "seconds, comma-separated",
    "PositiveSeconds": "seconds",
    "Port": "port",
    "PostgresUrl": "URL",
    "BrokerUrl": "URL",
    "RedisUrl": "URL",
    "AnyHttpUrl": "URL",
    "HttpUrl": "URL",
    "HeaderValue": "text",
    "SigningSecrets": "secrets, comma-separated",
    "CaFile": "file",
    "Path": "file",
    "CommaSeparatedNames": "names, comma-separated",
    "SourceTypeNames": "names, comma-separated",
    "JwtSecret": "text of 32 bytes or more",
    "PublicKey": "PEM",
    "ClaimNameNotUserWritable": "claim",
    "ClaimName": "claim",
    "RoleMap": "pairs, comma-separated",
    "FernetKeys": "keys, comma-separated",
    "RateLimit": "requests/period",
    "Networks": "addresses, comma-separated",
    "Origins": "origins, comma-separated",
    "int": "number",
    "str": "text",
}

_WEB, _STATUS, _WEBHOOKS = ("web",), ("worker",), ("webhook_worker",)
_DATABASE = ("web", "worker", "webhook_worker")
# Who needs a setting that is not in `SETTINGS_USED_BY`, by the beginning of its name; the first that fits.
READERS: Mapping[str, tuple[str, ...]] = {
    "environment": _DATABASE,
    "log_level": ("web", "worker", "webhook_worker", "beat", "flower"),
    "database_pool_size": _DATABASE,
    "webhook_total_seconds": _DATABASE,
    "sync_retry_seconds": _DATABASE,
    "verify_deadline_seconds": _DATABASE,
    "sync_start_deadline_seconds": _DATABASE,
    "sync_silence_deadline_seconds": _DATABASE,
    "otel_": _DATABASE,
    "heartbeat_file": ("worker", "webhook_worker"),
    "worker_metrics_port": _STATUS,
    "status_": _STATUS,
    "webhook_": _WEBHOOKS,
    "verify_retry_seconds": _WEBHOOKS,
    "operation_retention_days": _WEBHOOKS,
    "audit_retention_days": _WEBHOOKS,
    "dispatch_interval_seconds": ("beat",),
    "expiry_interval_seconds": ("beat",),
    "rabbitmq_management_url": ("doctor",),
    "port": _WEB,
    "web_processes": _WEB,
    "instance_id": _WEB,
    "jwt_": _WEB,
    "enabled_data_source_types": _WEB,
    "sse_": _WEB,
    "verify_rate_limit": _WEB,
    "sync_rate_limit": _WEB,
    "change_rate_limit": _WEB,
    "ticket_rate_limit": _WEB,
    "trusted_proxies": _WEB,
    "cors_origins": _WEB,
    "built_in_page": _WEB,
    "sign_in_url": _WEB,
}

# What the lines of the Procfile read themselves.
OF_THE_PROCFILE = {
    "STATUS_CONCURRENCY": ("number", "Child processes that apply status messages."),
    "WEBHOOK_CONCURRENCY": ("number", "Threads that deliver syncs; verifications have half as many of their own."),
    "FLOWER_BASIC_AUTH": ("user:password", "Who may see Flower's page."),
    "FLOWER_READ_ONLY": ("true or false", "Flower shows tasks and workers, and changes nothing."),
    "FLOWER_ADDRESS": ("address", "Where Flower listens."),
    "FLOWER_PORT": ("port", "Where Flower listens."),
}


def rows() -> Iterator[str]:
    """Yield the table's rows in Markdown: those of `Settings` in its order, then those of the Procfile."""
    for name, (annotation, text) in _documented_settings().items():
        field = Settings.model_fields[name]
        default = "required" if field.is_required() else _default(field.default)
        if name in process_settings.TOKEN_VERIFICATION_SETTINGS:
            default = "one of three"
        yield _row(name.upper(), _kind(name, annotation), default, _readers(name), text)
    for process, line in _procfile():
        for name, how, default in re.findall(r"\$\{([A-Z_]+):([-?])([^}]*)\}", line):
            if name.lower() not in Settings.model_fields:
                kind, text = OF_THE_PROCFILE[name]
                yield _row(name, kind, "required" if how == "?" else f"`{default}`", (process,), text)


def page() -> str:
    """Return the whole page, with the table between its markers."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", "", *HEAD, *rows(), "", f"{END}{after}"])


def drift() -> list[str]:
    """Return a line if the page is not what the settings say."""
    return [] if PAGE.read_text() == page() else ["docs/settings.md is out of date: python -m devstack.settings"]


def main() -> int:
    """Write the page; return the exit code."""
    PAGE.write_text(page())
    return 0


def _row(name: str, kind: str, default: str, readers: tuple[str, ...], text: str) -> str:
    needed_by = ", ".join(f"`{reader}`" for reader in readers)
    return f"| `{name}` | {kind} | {default} | {needed_by} | {text} |"


def _documented_settings() -> Mapping[str, tuple[str, str]]:
    """Return each setting's annotation and the text below it, as they stand in the source."""
    source = (PROJECT / "app" / "config.py").read_text()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    settings = classes[Settings.__name__]
    found = {}
    for node, following in zip(settings.body, settings.body[1:], strict=False):
        match node, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = (ast.unparse(annotation), " ".join(text.split()))
    return {name: found[name] for name in Settings.model_fields}


def _kind(name: str, annotation: str) -> str:
    if choices := re.fullmatch(r"Literal\[(.*)\]", annotation):
        return ", ".join(f"`{choice}`" for choice in re.findall(r"'(\w+)'", choices[1]))
    words = re.findall(r"\w+", annotation)
    kind = next(KINDS[word] for word in words if word in KINDS)
    return "days" if name.endswith("_days") else kind


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    values = value if isinstance(value, tuple) else (value,)
    return f"`{','.join(_text(each) for each in values)}`"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value.total_seconds():g}" if isinstance(value, timedelta) else str(value)


def _readers(name: str) -> tuple[str, ...]:
    if name in process_settings.RESTRICTED_SETTINGS and name not in READERS:
        using = (process for process, uses in process_settings.SETTINGS_USED_BY.items() if name in uses)
        return tuple(process for process in using if process != process_settings.COMMANDS_PROCESS)
    return next(readers for beginning, readers in READERS.items() if name.startswith(beginning))


def _procfile() -> Iterator[tuple[str, str]]:
    for line in (PROJECT / "Procfile").read_text().splitlines():
        process, _, command = line.partition(":")
        yield process, command


if __name__ == "__main__":
    sys.exit(main())
