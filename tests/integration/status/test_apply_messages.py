"""A batch of messages, applied by the task called as a function: which change what, and which end as dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.outbound.events import channel_of_organization
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.status.conftest import Apply, Database

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def ada(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def connection(ada: Browser) -> dict[str, Any]:
    ada.seeded()
    return ada.connection()


def test_a_sync_that_nobody_here_asked_for_opens_an_operation_of_the_services_own(
    apply: Apply, ada: Browser, connection: dict[str, Any], database_rows: Database
) -> None:
    apply(a_sync_message(connection, "sync_started"))

    (operation,) = database_rows.operations(connection["id"])
    assert ada.connection()["status"] == "syncing"
    assert (operation["kind"], operation["origin"], operation["state"]) == ("sync", "service", "running")
    audited = database_rows("SELECT * FROM audit_logs WHERE operation_id = %s", str(operation["id"]))
    assert [(row["actor_type"], row["action"]) for row in audited] == [("external_service", "sync.started")]


def test_a_second_copy_of_any_message_changes_nothing(
    apply: Apply, connection: dict[str, Any], database_rows: Database
) -> None:
    messages = [
        a_sync_message(connection, "sync_started", timestamp=at(0)),
        a_sync_message(connection, "sync_completed", timestamp=at(1), documents_processed=5),
        a_verification_message(connection, options={"spaces": "ENG"}),
    ]
    apply(*messages)
    row, operations = database_rows.row(connection["id"]), database_rows.operations(connection["id"])
    audited = database_rows("SELECT count(*) FROM audit_logs")

    apply(*messages)
    apply(*reversed(messages), *messages)

    assert database_rows.row(connection["id"]) == row
    assert database_rows.operations(connection["id"]) == operations
    assert database_rows("SELECT count(*) FROM audit_logs") == audited


def test_a_copy_in_the_same_batch_changes_nothing_either(
    apply: Apply, connection: dict[str, Any], database_rows: Database, redis: Redis
) -> None:
    message = a_sync_message(connection, "sync_failed", timestamp=at(0), error_message="No")
    stream = f"{channel_of_organization(connection['organization_id'])}:events"
    before = redis.xlen(stream)

    apply(*[message] * 50)

    (operation,) = database_rows.operations(connection["id"])
    assert len(operation["reports"].split()) == 1
    assert redis.xlen(stream) == before + 1


def test_a_late_start_does_not_reopen_a_finished_sync(apply: Apply, ada: Browser, connection: dict[str, Any]) -> None:
    apply(a_sync_message(connection, "sync_completed", timestamp=at(5)))
    apply(a_sync_message(connection, "sync_started", timestamp=at(4)))

    assert (ada.connection()["status"], ada.connection()["last_sync_status"]) == ("idle", "completed")


def test_a_verification_does_not_erase_a_running_sync_and_a_sync_not_a_running_verification(
    apply: Apply, ada: Browser, connection: dict[str, Any]
) -> None:
    path = f"/api/data-sources/{connection['id']}"
    asked = ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]

    apply(a_sync_message(connection, "sync_started", timestamp=at(0)))
    assert ada.connection()["status"] == "syncing"
    apply(a_sync_message(connection, "sync_completed", timestamp=at(1)))
    assert ada.connection()["status"] == "verifying"
    apply(a_sync_message(connection, "sync_started", timestamp=at(2)))
    apply(a_verification_message(connection, operation_id=asked, options={"spaces": "A"}))
    assert ada.connection()["status"] == "syncing"
    apply(a_sync_message(connection, "sync_failed", timestamp=at(3), error_message="Gone"))

    shown = ada.connection()
    assert (shown["status"], shown["latest_options"], shown["last_sync_error"]) == ("idle", {"spaces": "A"}, "Gone")
    assert shown["last_verification_error"] is None


def test_a_forged_tenant_is_told_apart_from_an_unknown_connection_and_the_rest_of_the_batch_applies(
    apply: Apply, app: Flask, ada: Browser, connection: dict[str, Any], database_rows: Database
) -> None:
    eve = Browser(app)
    eve.seeded()
    forged = a_sync_message(connection, "sync_failed", tenant_id=str(eve.organization_id))
    unknown = a_sync_message(connection, "sync_failed", connection_id=str(uuid4()))
    good = a_sync_message(eve.connection(), "sync_completed")

    letters = apply(forged, good, unknown)

    assert [(letter.reason, json.loads(letter.body)) for letter in letters] == [
        ("tenant_mismatch", forged),
        ("unknown_connection", unknown),
    ]
    assert eve.connection()["last_sync_status"] == "completed"
    assert ada.connection()["last_sync_status"] is None
    assert database_rows.operations(connection["id"]) == []


def test_a_forged_tenant_in_a_batch_that_also_holds_that_tenants_messages_still_changes_nothing(
    apply: Apply, app: Flask, ada: Browser, connection: dict[str, Any]
) -> None:
    # Both tenants are in the batch's scope, so that row-level security alone would let it through.
    eve = Browser(app)
    eve.seeded()
    honest = a_verification_message(connection)
    forged = a_sync_message(connection, "sync_failed", tenant_id=str(eve.organization_id))

    letters = apply(honest, a_verification_message(eve.connection()), forged)

    assert [letter.reason for letter in letters] == ["tenant_mismatch"]
    assert ada.connection()["last_sync_status"] is None


def test_a_deleted_connection_is_unknown(apply: Apply, app: Flask) -> None:
    ada = Browser(app)
    jira = ada.post("/api/data-sources", {"type": "jira", "name": "Jira"}).json["data"]
    ada.delete(f"/api/data-sources/{jira['id']}")

    assert [letter.reason for letter in apply(a_sync_message(jira, "sync_completed"))] == ["unknown_connection"]


def test_so_is_one_that_is_deleted_while_its_operation_is_asked_for(
    apply: Apply, ada: Browser, connection: dict[str, Any]
) -> None:
    jira = ada.post("/api/data-sources", {"type": "jira", "name": "Jira"}).json["data"]
    asked = ada.post(f"/api/data-sources/{jira['id']}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]
    ada.delete(f"/api/data-sources/{jira['id']}")

    letters = apply(a_verification_message(jira, operation_id=asked), a_sync_message(connection, "sync_completed"))

    assert [letter.reason for letter in letters] == ["unknown_connection"]
    assert ada.connection()["last_sync_status"] == "completed"


def test_an_operation_that_the_connection_does_not_have_is_refused(
    apply: Apply, app: Flask, ada: Browser, connection: dict[str, Any]
) -> None:
    eve = Browser(app)
    theirs = eve.post(f"/api/data-sources/{eve.seeded()}/verify", {"credentials": {"api_token": "x"}})
    others = ada.connection("websearch")
    of_another_connection = ada.post(f"/api/data-sources/{others['id']}/verify", {}).json["operation_id"]

    letters = apply(
        a_verification_message(connection, operation_id=str(uuid4())),
        a_verification_message(connection, operation_id=theirs.json["operation_id"]),
        a_verification_message(connection, operation_id=of_another_connection),
        a_sync_message(others, "sync_completed", operation_id=of_another_connection),
    )

    assert [letter.reason for letter in letters] == ["unknown_operation"] * 4
    assert ada.connection()["last_verification_at"] is None
    assert ada.connection("websearch")["status"] == "verifying"


OLD = [
    ("sync", {"status": "completed"}, {"last_sync_status": "completed", "last_sync_error": None}),
    ("sync", {"status": "failed", "error": "Old"}, {"last_sync_status": "failed", "last_sync_error": "Old"}),
    ("verification", {"status": "success", "options": {"a": "b"}}, {"latest_options": {"a": "b"}}),
    ("verification", {"status": "failed", "error": "Bad"}, {"last_verification_error": "Bad"}),
]


@pytest.mark.parametrize(("kind", "body", "expected"), OLD)
def test_the_old_dialect_is_understood_on_the_queue_of_its_kind(
    apply: Apply, ada: Browser, connection: dict[str, Any], kind: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    address = {"connection_id": connection["id"], "tenant_id": connection["organization_id"]}

    letters = apply(address | body, queue=f"data_source.{kind}_status")

    shown = ada.connection()
    assert letters == []
    assert {name: shown[name] for name in expected} == expected
    assert shown["status"] == "idle"


@pytest.mark.parametrize(("kind", "body", "expected"), OLD[:3])
def test_the_old_dialect_is_understood_on_the_one_queue_too(
    apply: Apply, ada: Browser, connection: dict[str, Any], kind: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert kind
    address = {"connection_id": connection["id"], "tenant_id": connection["organization_id"]}

    assert apply(address | body) == []
    assert {name: ada.connection()[name] for name in expected} == expected


def test_every_change_is_pushed_in_order_and_what_is_late_is_not(
    apply: Apply, connection: dict[str, Any], redis: Redis
) -> None:
    stream = f"{channel_of_organization(connection['organization_id'])}:events"
    before = redis.xlen(stream)

    apply(
        a_sync_message(connection, "sync_started", timestamp=at(0)),
        a_sync_message(connection, "sync_started", timestamp=at(1), documents_processed=3),
        a_sync_message(connection, "sync_completed", timestamp=at(2), documents_processed=9),
        a_sync_message(connection, "sync_started", timestamp=at(1)),
    )

    pushed = [json.loads(fields[b"data"]) for _, fields in redis.xrange(stream)][before:]
    assert [(event["status"], event["documentsProcessed"]) for event in pushed] == [
        ("syncing", None),
        ("syncing", 3),
        ("idle", 9),
    ]


def test_a_whole_batch_may_speak_of_one_connection(
    apply: Apply, ada: Browser, connection: dict[str, Any], database_rows: Database
) -> None:
    cycles = [
        a_sync_message(connection, status, timestamp=at(2 * cycle + step))
        for cycle in range(250)
        for step, status in enumerate(("sync_started", "sync_completed"))
    ]

    assert apply(*cycles) == []

    states = [operation["state"] for operation in database_rows.operations(connection["id"])]
    assert states == ["succeeded"] * 250
    assert ada.connection()["status"] == "idle"


@pytest.mark.parametrize("timestamp", ["2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_clock_that_cannot_be_is_kept_for_a_person_and_mutes_nothing(
    apply: Apply, ada: Browser, connection: dict[str, Any], timestamp: Any
) -> None:
    letters = apply(
        a_sync_message(connection, "sync_completed", timestamp=timestamp),
        a_sync_message(connection, "sync_failed", timestamp=at(0), error_message="disk full"),
    )

    assert [letter.reason for letter in letters] == ["impossible_time"]
    assert (ada.connection()["last_sync_status"], ada.connection()["last_sync_error"]) == ("failed", "disk full")


@pytest.mark.parametrize("timestamp", ["2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", 0])
def test_an_end_of_an_impossible_time_ends_the_operation_that_it_names(
    apply: Apply, ada: Browser, timestamp: Any
) -> None:
    source = ada.put("/api/data-sources/websearch", {"config": {"region": "eu"}}).json["data"]
    operation_id = ada.post(f"/api/data-sources/{source['id']}/sync").json["data"]["operation_id"]

    letters = apply(a_sync_message(source, operation_id=operation_id, timestamp=timestamp))

    assert [letter.reason for letter in letters] == ["impossible_time"]
    ended = ada.connection("websearch")
    assert (ended["status"], ended["last_sync_status"]) == ("idle", "failed")
    assert "could not be read" in ended["last_sync_error"]


def test_an_impossible_time_is_said_of_no_other_operation(apply: Apply, ada: Browser) -> None:
    source = ada.put("/api/data-sources/websearch", {}).json["data"]
    verification = ada.post(f"/api/data-sources/{source['id']}/verify", {}).json["operation_id"]

    letters = apply(a_sync_message(source, operation_id=verification, timestamp=0))

    assert [letter.reason for letter in letters] == ["impossible_time"]
    assert ada.connection("websearch")["status"] == "verifying"
