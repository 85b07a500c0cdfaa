"""What is published about the messages is what the code does with them."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic_core
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.domain.aggregate import Change
from app.domain.status_messages import MAX_ERROR_TEXT_LENGTH, MessageRefused, parse_report, require_readable_options
from app.outbound import broker, dead_letters, events, webhook
from devstack import asyncapi, schemas
from tests.devstack.conftest import RunNode
from tests.factories import NOON, a_connection, an_operation
from tests.node import needs_node
from tests.project import PROJECT

ID = "0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b"
QUEUE = asyncapi.STATUS_QUEUE
ADDRESS = {"connection_id": ID, "tenant_id": ID}

SYNC = {"type": "sync", **ADDRESS, "status": "sync_started", "timestamp": "2026-11-22T10:00:00.000Z"}
VERIFICATION = {"type": "verification", **ADDRESS, "status": "success", "options": {"spaces": "A,B"}, "error": None}
OLD_SYNC = {**ADDRESS, "status": "failed", "error": "no"}
OLD_VERIFICATION = {**ADDRESS, "status": "success", "options": None}
MESSAGES = {"sync": SYNC, "verification": VERIFICATION, "old_sync": OLD_SYNC, "old_verification": OLD_VERIFICATION}


SCHEMAS = schemas.schemas()
VALIDATORS = {path: Draft202012Validator(schema, format_checker=schemas.FORMATS) for path, schema in SCHEMAS.items()}


def is_valid(body: Any, *, path: str) -> bool:
    return VALIDATORS[path].is_valid(body)


def is_understood(body: dict[str, Any]) -> bool:
    try:
        require_readable_options(parse_report(json.dumps(body), queue_name=QUEUE), options_key="spaces")
    except MessageRefused:
        return False
    return True


def test_the_committed_files_are_the_ones_that_the_command_writes() -> None:
    on_disk = {file: file.read_text() for file in (PROJECT / "docs" / "schemas").rglob("*.json")}

    written = schemas.files()

    assert on_disk | {schemas.DOCS / "asyncapi.yaml": (PROJECT / "docs" / "asyncapi.yaml").read_text()} == written


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_schema_is_valid_and_tolerates_unknown_keys(path: str) -> None:
    schema = SCHEMAS[path]

    Draft202012Validator.check_schema(schema)

    assert schema.get("additionalProperties", True) is True
    assert all(described.get("description") or name in ("source", "action") for name, described in _properties(schema))


def _properties(schema: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, described) for name, described in schema["properties"].items() if described is not False]


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("extra", [{}, {"later": [1]}, {"operation_id": ID}, {"operation_id": None}])
def test_a_message_by_the_book_is_valid_and_understood(name: str, extra: dict[str, Any]) -> None:
    body = MESSAGES[name] | extra

    assert is_valid(body, path=f"messages/{name}.json")
    assert is_understood(body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *[("sync", {key: None}) for key in ("connection_id", "tenant_id", "status")],
        *[("verification", {key: None}) for key in ("connection_id", "tenant_id", "status")],
        ("sync", {"status": "completed"}),
        ("sync", {"timestamp": "yesterday"}),
        ("sync", {"documents_processed": -1}),
        ("sync", {"documents_processed": 2**63}),
        ("sync", {"documents_processed": "many"}),
        ("sync", {"operation_id": "7"}),
        ("verification", {"options": {"spaces": ["A", 1]}}),
        ("verification", {"options": {"spaces": 7}}),
        ("verification", {"options": "A,B"}),
        ("verification", {"status": "completed"}),
        ("old_sync", {"status": "done"}),
        ("old_verification", {"status": "maybe"}),
    ],
)
def test_what_is_not_understood_is_not_valid_either(name: str, change: dict[str, Any]) -> None:
    body = MESSAGES[name] | change

    assert not is_understood(body)
    assert not is_valid(body, path=f"messages/{name}.json")


@pytest.mark.parametrize("name", MESSAGES)
def test_whatever_the_schema_requires_is_missed(name: str) -> None:
    required = SCHEMAS[f"messages/{name}.json"]["required"]

    valid = [key for key in required if is_valid(_without(MESSAGES[name], key), path=f"messages/{name}.json")]

    assert valid == []
    assert set(required) >= {"connection_id", "tenant_id", "status"}


def _without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.just(ID)
)
MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 2), max_value=datetime(9990, 1, 1),  # noqa: DTZ001 - the zones come next
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
).map(datetime.isoformat)  # fmt: skip
VALUES = SCALARS | MOMENTS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=4), SCALARS, max_size=2)
KEYS = sorted({key for body in MESSAGES.values() for key in body} | {"error_message", "documents_processed", "later"})


@given(
    name=st.sampled_from(sorted(MESSAGES)),
    dropped=st.sets(st.sampled_from(KEYS), max_size=2),
    changed=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
)
def test_whatever_is_valid_is_understood(name: str, dropped: set[str], changed: dict[str, Any]) -> None:
    body = {key: value for key, value in (MESSAGES[name] | changed).items() if key not in dropped}
    if "old" in name:
        body.pop("type", None)

    if is_valid(body, path=f"messages/{name}.json"):
        assert is_understood(body)


def test_texts_of_any_length_are_understood_as_the_schema_says() -> None:
    body = VERIFICATION | {"status": "failed", "options": None, "error": "x" * (MAX_ERROR_TEXT_LENGTH + 1)}

    assert is_valid(body, path="messages/verification.json")
    assert is_understood(body)


@pytest.mark.parametrize("kind", ["verify", "sync"])
def test_the_webhooks_that_are_sent_are_valid(kind: str) -> None:
    operation = an_operation(a_connection(config={"spaces": "A"}), kind=kind)

    body = webhook.webhook_body(operation, connection_type="confluence", decrypted={"credentials": {"api_token": "x"}})

    sent = json.loads(pydantic_core.to_json(body))
    path = f"webhooks/{sent['action']}.json"
    assert is_valid(sent, path=path)
    assert is_valid(sent | {"later": True}, path=path)
    assert set(SCHEMAS[path]["required"]) == set(sent)
    assert not any(is_valid(_without(sent, key), path=path) for key in sent)


def a_change(kind: str | None) -> Change:
    connection = a_connection(latest_options={"spaces": "A"}, last_sync_status="completed", last_sync_at=NOON)
    operation = an_operation(connection, kind=kind, documents_processed=7) if kind else None
    return Change(f"{kind or 'connection'}.changed", connection, operation, {})


def test_the_live_event_is_described_to_the_last_key() -> None:
    sent = [json.loads(events.event_for_change(a_change(kind)).data) for kind in ("sync", "verify", None)]

    for event in sent:
        Draft202012Validator(asyncapi.EVENT, format_checker=schemas.FORMATS).validate(event)
    assert set().union(*sent) == set(asyncapi.EVENT["properties"])
    assert set(sent[0]).intersection(*sent) == set(asyncapi.EVENT["required"])


def test_every_reason_for_a_dead_letter_is_listed() -> None:
    given = set()
    for file in [*PROJECT.glob("app/**/*.py"), *PROJECT.glob("tasks/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Unacceptable", "messages.Unacceptable"):
                reason = node.args[0]
                # Whoever hands on what another has found names it there.
                given |= {reason.value} if isinstance(reason, ast.Constant) else set()

    assert given == set(asyncapi.REASONS)


def test_the_dead_letters_headers_are_those_that_are_written() -> None:
    described = asyncapi.DEAD_LETTER_HEADERS["properties"]

    assert set(described) == {
        dead_letters.REASON_HEADER,
        dead_letters.DETAIL_HEADER,
        dead_letters.ORIGINAL_QUEUE_HEADER,
        dead_letters.DIED_AT_HEADER,
    }


def test_the_asyncapi_document_names_what_the_code_uses() -> None:
    document = yaml.safe_load((PROJECT / "docs" / "asyncapi.yaml").read_text())

    addresses = {channel["address"] for channel in document["channels"].values()}
    names = {message["name"] for message in document["components"]["messages"].values()}
    queue = document["channels"]["status"]["bindings"]["amqp"]["queue"]

    assert addresses == {QUEUE, broker.DEAD_LETTER_QUEUE_NAME, "/api/sse"}
    assert names >= {events.UPDATE_EVENT_NAME, events.SNAPSHOT_EVENT_NAME, "sync", "verification"}
    assert queue == {"name": QUEUE, "durable": True, "exclusive": False, "autoDelete": False}


VALIDATE = """
import { Parser } from '@asyncapi/parser';
import { readFileSync } from 'node:fs';

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
  const errors = diagnostics.filter((each) => each.severity === 0).map((each) => each.path.join('.'));
  const channels = document?.channels().all().map((channel) => channel.address()) ?? [];
  console.log(JSON.stringify({ errors, channels }));
}
"""


@needs_node
def test_the_specifications_own_parser_accepts_the_document_and_not_one_that_is_wrong(
    run_node: RunNode, tmp_path: Path
) -> None:
    published = PROJECT / "docs" / "asyncapi.yaml"
    document = yaml.safe_load(published.read_text())
    document["operations"]["hearStatus"]["action"] = "listen"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(document))

    done = run_node(VALIDATE, str(published), str(tmp_path / "wrong.yaml"))

    assert done.returncode == 0, done.stderr
    ours, wrong = map(json.loads, done.stdout.splitlines())
    assert ours == {"errors": [], "channels": [QUEUE, broker.DEAD_LETTER_QUEUE_NAME, "/api/sse"]}
    assert wrong["errors"] == ["operations.hearStatus.action"]


def test_an_id_is_a_uuid_and_a_moment_has_an_offset() -> None:
    assert is_valid(SYNC | {"operation_id": str(UUID(int=1))}, path="messages/sync.json")
    assert not is_valid(SYNC | {"timestamp": "2026-11-22T10:00:00"}, path="messages/sync.json")
    assert not is_valid(SYNC | {"timestamp": "2026-11-22"}, path="messages/sync.json")
