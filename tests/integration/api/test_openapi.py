"""The document against the application that it describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pydantic_core
import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from redis import Redis

from app import errors
from app.api import error_schemas
from app.api.representations import OperationView
from app.outbound import events, webhook
from tests.document import document_of, validator
from tests.factories import (
    Browser,
    a_connection,
    a_sync_message,
    a_verification_message,
    an_operation,
    apply_messages,
)
from tests.integration.outbound.sockets import a_target
from tests.receiver import Receiver

PATH = "/api/data-sources"
SECRET = "whsec_dGVzdC1zaWduaW5nLXNlY3JldC0wMTIzNDU2Nzg5"


@pytest.fixture
def document(web: Flask) -> dict[str, Any]:
    return document_of(web)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def schemas_in(node: Any) -> Iterator[dict[str, Any]]:
    """Return every schema that has examples."""
    if isinstance(node, dict):
        if "examples" in node:
            yield node
        for inner in node.values():
            yield from schemas_in(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from schemas_in(inner)


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_call_of_the_api_is_described_and_no_other(web: Flask, document: dict[str, Any]) -> None:
    there = {
        (re.sub("<([^<>]+:)?([^<>]+)>", r"{\2}", rule.rule), method.lower())
        for rule in web.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api") or rule.endpoint.startswith("health.")
    }

    described = {(path, method) for path, method, _ in operations(document)}

    assert described == there


def test_every_call_says_what_it_is_and_belongs_to_a_group(document: dict[str, Any]) -> None:
    groups = {tag["name"] for tag in document["tags"]}

    for path, method, operation in operations(document):
        assert operation["summary"].endswith("."), (path, method)
        assert "\n" not in operation["summary"]
        assert set(operation["tags"]) <= groups


def test_every_error_that_is_raised_is_described_where_it_can_happen(document: dict[str, Any]) -> None:
    # The others are bases: what is raised is one of their descendants.
    bases = {errors.AppError, errors.Conflict, errors.OperationInProgress}
    raised = {error.code for error in error_schemas.error_models() if error not in bases}

    named = {
        code
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for code in re.findall("`([a-z_]+)`", response["description"])
    }

    assert named == raised


def test_what_needs_a_token_says_so_and_says_how_it_refuses(document: dict[str, Any]) -> None:
    public = {"/api/openapi.json", "/api/docs", "/healthz", "/readyz"}

    for path, method, operation in operations(document):
        assert ("401" in operation["responses"]) == (path not in public), (path, method)
        assert bool(operation["security"]) == (path not in public)
    assert document["paths"]["/api/sse"]["get"]["security"] == [{"bearer": []}, {"ticket": []}]


def test_every_filter_that_is_described_is_taken_and_no_other(web: Flask, document: dict[str, Any]) -> None:
    ada = Browser(web)
    described = {one["name"]: one["schema"] for one in document["paths"][PATH]["get"]["parameters"]}

    for name in ("status", "type"):
        for value in described[name]["enum"]:
            assert ada.get(f"{PATH}?{name}={value}").status_code == 200
        answer = ada.get(f"{PATH}?{name}=another")
        assert described[name]["enum"] == answer.json["allowed_types" if name == "type" else "allowed"]
    assert described["enabled"] == {"type": "boolean"}


def test_the_types_are_those_of_the_installation(web: Flask, another_app: Callable[..., Flask]) -> None:
    seeded_only = document_of(another_app(enabled_data_source_types=()))
    with_jira = document_of(web)

    def types(document: dict[str, Any]) -> list[str]:
        (found,) = [one for one in document["paths"][PATH]["get"]["parameters"] if one["name"] == "type"]
        return list(found["schema"]["enum"])

    assert types(with_jira) == [*types(seeded_only), "jira"]
    assert with_jira["components"]["schemas"]["CreateBody"]["properties"]["type"]["enum"] == ["jira"]
    assert "enum" not in seeded_only["components"]["schemas"]["CreateBody"]["properties"]["type"]
    validate(seeded_only)


def test_every_example_is_one_of_what_it_shows(document: dict[str, Any]) -> None:
    found = [schema for schema in schemas_in(document) if isinstance(schema["examples"], list)]

    assert len(found) > 30
    for schema in found:
        against = Draft202012Validator(schema | {"components": document["components"]})
        for example in schema["examples"]:
            against.validate(example)


def test_the_example_of_the_stream_is_one_of_its_events(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/sse"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    (data,) = re.findall("^data:(.*)$", content["example"], re.MULTILINE)
    (event_id,) = re.findall("^id:(.*)$", content["example"], re.MULTILINE)

    validator(document, "SyncEvent").validate(pydantic_core.from_json(data))
    assert events.is_event_id(event_id)


def test_every_event_is_what_the_document_says(web: Flask, redis: Redis, document: dict[str, Any]) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/websearch", {"name": "Search"})
    connection = ada.connection("websearch")
    asked = ada.post(f"{PATH}/{connection['id']}/verify", {}).json["operation_id"]
    answer = a_verification_message(connection, options={"spaces": "ENG"}, operation_id=asked)
    applied = apply_messages(web, answer)
    asked = ada.post(f"{PATH}/{connection['id']}/sync").json["data"]["operation_id"]
    ended = apply_messages(web, a_sync_message(connection, documents_processed=7, operation_id=asked))

    kept: list[Any] = redis.xrange(f"{events.channel_of_organization(ada.organization_id)}:events")
    said = [pydantic_core.from_json(fields[b"data"]) for _, fields in kept]
    changes = [*applied.changes, *ended.changes]
    said += [pydantic_core.from_json(events.event_for_change(change).data) for change in changes]
    snapshot = str(events.snapshot_event([connection], event_id="0-0")).partition("data:")[2].partition("\n")[0]

    models = {"connection": "ConfigurationEvent", "sync": "SyncEvent", "verify": "VerificationEvent"}
    assert {one["change"].partition(".")[0] for one in said} == set(models)
    for one in said:
        validator(document, models[one["change"].partition(".")[0]]).validate(one)
    validator(document, "Snapshot").validate(pydantic_core.from_json(snapshot))
    running = next(one["operation"] for one in said if one["change"] == "sync.requested")
    assert set(running) == set(OperationView.model_fields)
    assert said[-1]["operation"] is None
    configured = next(one for one in reversed(said) if one["change"] == "connection.configured")
    assert configured["version"] == connection["version"]


@pytest.mark.parametrize(("kind", "name"), [("verify", "VerifyWebhook"), ("sync", "SyncWebhook")])
def test_every_webhook_is_what_the_document_says(
    document: dict[str, Any], receiver: Receiver, kind: str, name: str
) -> None:
    connection = a_connection()
    request = {"connection_name": "Wiki", "config": {}} if kind == "sync" else {}
    operation = an_operation(
        connection, kind=kind, request=request, requested_by=UUID(int=7), requested_email="ada@example.org"
    )
    sealed = {"settings": {}, "credentials": {"api_token": "t"}}
    body = webhook.webhook_body(operation, connection_type="confluence", decrypted=sealed)

    webhook.post_webhook(
        body,
        webhook_id=str(operation.id),
        request_id="press-1",
        target=a_target(receiver.url, signing_secrets=(SECRET,)),
    )

    (received,) = receiver.received
    validator(document, name).validate(received.json)
    described = document["webhooks"][kind]["post"]
    named = {one["name"].lower() for one in described["parameters"]} | {"authorization"}
    usual = {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length"}
    assert set(received.headers) - usual == named
