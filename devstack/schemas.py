"""The published contract: JSON Schemas and the AsyncAPI document, written from the models that the code validates with.

`python -m devstack.schemas` writes them under `docs/`; `--check` only tells what would change. A version's schemas may
gain optional keys; whatever an author relies on is changed in a new folder beside the old one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from pydantic import BaseModel

from app.domain import status_messages
from app.outbound import webhook_bodies
from devstack import asyncapi

DOCS = Path(__file__).resolve().parent.parent / "docs"
VERSION = "v1"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

WEBHOOKS: Mapping[str, type[webhook_bodies.WebhookBody]] = {
    model.model_fields["action"].default: model for model in (webhook_bodies.VerifyWebhook, webhook_bodies.SyncWebhook)
}
# What no model says: what the old dialect left out, and the words that it used.
_OLD_STATUS = {"verification": ["success", "failed"], "sync": ["started", "completed", "failed"]}


class _Plain(yaml.SafeDumper):
    """Says everything where it belongs, instead of referring to where it was said first."""

    def ignore_aliases(self, _data: object) -> bool:
        """Refer to nothing."""
        return True


FORMATS = jsonschema.FormatChecker(["uuid"])


@FORMATS.checks("date-time")
def is_timestamp(value: object) -> bool:
    """Tell whether a text is a date and time with its offset (RFC 3339); others than texts are not judged."""
    if not isinstance(value, str):
        return True
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False


def message(kind: str) -> dict[str, Any]:
    """Return the schema of a message by the word in its `type`: what an author does well to write.

    Stricter than what is understood: `type` must be said, and a sync must be dated, by the standard.
    """
    schema = _schema_of(status_messages.REPORT_MODELS_BY_TYPE[kind])
    word = {"const": kind, "description": "Tells the two kinds apart."}
    schema["properties"] = {"type": word} | schema["properties"]
    schema["required"] = ["type", *schema["required"]]
    if kind == "sync":
        schema["required"].append("timestamp")
        moment = schema["properties"]["timestamp"]
        del moment["anyOf"]
        moment |= {"type": "string", "format": "date-time", "examples": ["2026-11-22T10:00:00.000Z"]}
        schema["description"] = "How a sync goes."
    return schema


def old_message(kind: str) -> dict[str, Any]:
    """Return the schema of a message in the older dialect: no `type`, other words, less that must be said."""
    schema = message(kind)
    properties = schema["properties"]
    del properties["type"]
    properties["status"]["enum"] = _OLD_STATUS[kind]
    schema["required"] = ["connection_id", "tenant_id", "status"]
    if kind == "sync":
        properties["error"] = dict(properties["error_message"])
        # These make it a verification.
        properties["options"] = False
    else:
        # `failed` alone would be a sync's.
        schema["anyOf"] = [{"required": ["options"]}, {"properties": {"status": {"const": "success"}}}]
    return schema | {"deprecated": True, "title": f"{schema['title']} (old dialect)"}


def webhook(action: str) -> dict[str, Any]:
    """Return the schema of a webhook's body; who receives it ignores keys that it does not know."""
    schema = _schema_of(WEBHOOKS[action])
    del schema["additionalProperties"]
    return schema | {"required": list(schema["properties"])}


def schemas() -> dict[str, dict[str, Any]]:
    """Return every schema by its path below the version's folder."""
    found = {f"webhooks/{action}.json": webhook(action) for action in WEBHOOKS}
    for kind in status_messages.REPORT_MODELS_BY_TYPE:
        found[f"messages/{kind}.json"] = message(kind)
        found[f"messages/old_{kind}.json"] = old_message(kind)
    return found


def files() -> dict[Path, str]:
    """Return every generated file with its text."""
    written = {}
    for path, schema in schemas().items():
        named = {"$schema": DIALECT, "$id": f"urn:rita:data-sources:{VERSION}:{path.removesuffix('.json')}"}
        written[DOCS / "schemas" / VERSION / path] = json.dumps(named | schema, indent=2, ensure_ascii=False) + "\n"
    document = asyncapi.document({path: schema for path, schema in schemas().items() if path.startswith("messages/")})
    text = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    written[DOCS / "asyncapi.yaml"] = f"# Written by `python -m devstack.schemas`.\n{text}"
    return written


def main() -> int:
    """Write what differs, or with --check only name it; return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m devstack.schemas", description=__doc__)
    arguments.add_argument("--check", action="store_true", help="write nothing; exit 1 if something would change")
    check = arguments.parse_args().check
    differing = {file: text for file, text in files().items() if not file.exists() or file.read_text() != text}
    for file, text in differing.items():
        print(f"{'differs' if check else 'written'}: {file.relative_to(DOCS.parent)}")
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return int(check and bool(differing))


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema without what pydantic adds for itself: titles of properties and defaults."""
    schema = model.model_json_schema(by_alias=True)
    for described in schema["properties"].values():
        described.pop("title", None)
        described.pop("default", None)
    return schema


if __name__ == "__main__":
    sys.exit(main())
