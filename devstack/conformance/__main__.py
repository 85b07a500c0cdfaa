"""The command: `RABBITMQ_URL=… python -m devstack.conformance --webhook-url URL`.

The exit code is 0 if every row that could be judged passes, 1 if one fails, 2 if there could be no trial.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.config import Settings
from app.domain.texts import escape_for_terminal
from app.outbound.webhook import WebhookTarget
from devstack.conformance.clauses import Result, Row
from devstack.conformance.judge import judge
from devstack.conformance.listener import Listener, Unusable
from devstack.conformance.trial import Material, Patience, Trial
from devstack.strict_yaml import InvalidYaml, read_yaml

BROKER_SCHEMES = ("amqp://", "amqps://")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try a service, print the table, and return the exit code."""
    given = _arguments().parse_args(arguments)
    try:
        target, material = _target(given), _material(given.credentials)
        with Listener(_broker(given.rabbitmq_url), queue=given.queue) as listener:
            trial = Trial(target, listener=listener, material=material, patience=_patience(given))
            trial.run()
            rows = judge(trial)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return 2
    print(as_json(rows) if given.json else as_table(rows))
    return int(has_failed(rows))


def has_failed(rows: list[Row]) -> bool:
    """Tell whether any row failed."""
    return any(row.result is Result.FAIL for row in rows)


def as_json(rows: list[Row]) -> str:
    """Return the rows for programs."""
    told = [
        {"id": row.id, "result": row.result.lower(), "clause": row.clause, "words": row.words, "detail": row.detail}
        for row in rows
    ]
    # In ASCII: what the service said must not reach a terminal that obeys it.
    return json.dumps({"passed": not has_failed(rows), "rows": told}, indent=2)


def as_table(rows: list[Row]) -> str:
    """Return the rows for people; the sections are those of docs/integration.md."""
    lines = ["result      section   what"]
    for row in rows:
        lines.append(f"{row.result:<11} {row.clause:<9} {row.words} [{row.id}]")
        if row.detail:
            lines.append(f"{'':<21} → {escape_for_terminal(row.detail)}")
    counts = {result: sum(row.result is result for row in rows) for result in Result}
    lines += ["", ", ".join(f"{count} {result}" for result, count in counts.items()) + " (docs/integration.md)"]
    return "\n".join(lines)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devstack.conformance",
        description="Play Rita against an external service and judge what comes back.",
        epilog="Other processes can see a command's arguments: secrets may stand in the environment instead."
        " Exit code: 0 if every row that could be judged passes, 1 if one fails, 2 if there could be no trial.",
    )
    environ, patience = os.environ, Patience()
    parser.add_argument("--webhook-url", required=True, help="where the service takes webhooks")
    parser.add_argument(
        "--rabbitmq-url",
        default=environ.get("RABBITMQ_URL"),
        required=not environ.get("RABBITMQ_URL"),
        help="the broker; a virtual host that nobody else uses; or RABBITMQ_URL",
    )
    parser.add_argument(
        "--authorization",
        default=environ.get("AUTOMATION_AUTH", ""),
        help="what webhooks carry as Authorization; or AUTOMATION_AUTH",
    )
    parser.add_argument(
        "--signing-secret",
        default=environ.get("WEBHOOK_SIGNING_SECRET") or (),
        help="what signs webhooks, whsec_…; or WEBHOOK_SIGNING_SECRET",
    )
    parser.add_argument("--ca-file", help="PEM file of a private certificate authority")
    parser.add_argument("--queue", default="data_source_status", help="where the service answers (%(default)s)")
    parser.add_argument("--credentials", type=Path, help="YAML file: type, and credentials good, bad and unreachable")
    for name, usual, what in (
        ("--verification-within", patience.verification, "how long the answer to a verification may take"),
        ("--sync-within", patience.sync, "how long all answers to a sync may take together"),
        ("--quiet", patience.quiet, "how long to wait for what must not come"),
    ):
        about = f"{what} (%(default)s)"
        parser.add_argument(name, type=float, default=usual.total_seconds(), metavar="SECONDS", help=about)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _target(given: argparse.Namespace) -> WebhookTarget:
    """Return the receiver, held to the rules of Rita's own settings. Raises Unusable."""
    defaults = Settings.model_fields
    return WebhookTarget(
        url=_setting("automation_webhook_url", given.webhook_url, option="--webhook-url"),
        authorization=_setting("automation_auth", given.authorization, option="--authorization"),
        signing_secrets=given.signing_secret
        and _setting("webhook_signing_secret", given.signing_secret, option="--signing-secret"),
        ca_file=_setting("webhook_ca_file", given.ca_file, option="--ca-file"),
        connect_timeout=defaults["webhook_connect_seconds"].default,
        read_timeout=defaults["webhook_read_seconds"].default,
        total_timeout=defaults["webhook_total_seconds"].default,
    )


def _broker(url: str) -> str:
    if not url.startswith(BROKER_SCHEMES):
        raise Unusable("--rabbitmq-url: must start with amqp:// or amqps://")
    return url


def _setting(name: str, value: Any, *, option: str) -> Any:
    rule: TypeAdapter[Any] = TypeAdapter(Settings.model_fields[name].rebuild_annotation())
    try:
        return rule.validate_python(value)
    except ValidationError as wrong:
        message = wrong.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise Unusable(f"{option}: {message}") from None


def _material(file: Path | None) -> Material:
    try:
        return Material.model_validate(read_yaml(file)) if file else Material()
    except InvalidYaml as wrong:
        raise Unusable(f"{file}: {wrong}") from None
    except ValidationError as wrong:
        (first, *_) = wrong.errors(include_input=False)
        raise Unusable(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _patience(given: argparse.Namespace) -> Patience:
    waits = (given.verification_within, given.sync_within, given.quiet)
    return Patience(*[timedelta(seconds=seconds) for seconds in waits])


if __name__ == "__main__":
    sys.exit(main())
