"""Who changed what, on which connection, by which request: one row for each change, in the change's transaction."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from flask import Flask

from app.domain.actors import Actor
from app.domain.retry import AttemptOutcome, RetryVerdict
from app.services import connections, deliveries, operations
from app.unit_of_work import unit_of_work
from tests.factories import PATIENCE, Browser, a_sync_message, a_verification_message, apply_messages, rows

PATH = "/api/data-sources"
BY = {"headers": {"X-Request-ID": "by-request"}}


def trail(app: Flask, type_name: str = "confluence") -> list[dict[str, Any]]:
    """Return what was written about one type's connections, oldest first, without its creation."""
    return rows(
        app,
        "SELECT audit_logs.* FROM audit_logs JOIN data_source_connections c ON c.id = connection_id"
        " WHERE c.type = :type AND action <> 'connection.created' ORDER BY audit_logs.id",
        type=type_name,
    )


@pytest.fixture
def ada(web: Flask) -> Browser:
    ada = Browser(web)
    ada.seeded()
    return ada


@pytest.fixture
def path(ada: Browser) -> str:
    return f"{PATH}/{ada.connection()['id']}"


def test_a_creation_says_who_and_with_which_values(web: Flask) -> None:
    ada = Browser(web)

    ada.post(f"{PATH}/seed", **BY)

    everybodys = rows(web, "SELECT * FROM audit_logs ORDER BY id")
    found = [row for row in everybodys if row["organization_id"] == ada.organization_id]
    assert [row["action"] for row in found] == ["connection.created"] * 4
    assert {(row["actor_type"], row["actor_id"], row["request_id"]) for row in found} == {
        ("user", ada.user_id, "by-request")
    }
    assert {row["changes"]["name"][1] for row in found} == {"Confluence", "ServiceNow", "SharePoint", "Web Search"}
    assert all(before is None for row in found for before, _ in row["changes"].values())


def test_a_configuration_says_what_was_before_and_after(web: Flask, ada: Browser, path: str) -> None:
    before = datetime.now(UTC)

    ada.patch(path, {"name": "Wiki", "config": {"spaces": "ENG"}, "enabled": True}, **BY)

    (row,) = trail(web)
    assert row["action"] == "connection.configured"
    assert row["changes"] == {
        "name": ["Confluence", "Wiki"],
        "config": [{}, {"spaces": "ENG"}],
        "enabled": [False, True],
    }
    assert (row["actor_type"], row["actor_id"], row["request_id"]) == ("user", ada.user_id, "by-request")
    assert (row["organization_id"], str(row["connection_id"])) == (ada.organization_id, path.rsplit("/", 1)[1])
    assert before <= row["created_at"] <= datetime.now(UTC)


def test_what_changes_nothing_leaves_no_trace(web: Flask, ada: Browser, path: str) -> None:
    ada.patch(path, {"name": "Confluence"})
    ada.patch(path, {})
    ada.post(f"{PATH}/seed")

    assert trail(web) == []


def test_a_refused_change_leaves_no_trace(web: Flask, ada: Browser, path: str) -> None:
    ada.patch(path, {"config": {"password": "x"}})
    ada.delete(path)
    ada.post(f"{path}/sync")
    Browser(web, organization_id=ada.organization_id, role="member").patch(path, {"enabled": False})

    assert trail(web) == []


def test_presses_and_answers_say_who_made_which_change(web: Flask, ada: Browser, path: str) -> None:
    verification = ada.post(f"{path}/verify", {"credentials": {"api_token": "s3cr3t"}}, **BY).json["operation_id"]
    apply_messages(web, a_verification_message(ada.connection(), options={"spaces": "ENG"}, operation_id=verification))
    ada.patch(path, {"enabled": True})
    sync = ada.post(f"{path}/sync", **BY).json["data"]["operation_id"]
    apply_messages(web, a_sync_message(ada.connection(), "sync_failed", error_message="quota", operation_id=sync))

    pressed, answered, _, synced, failed = trail(web)
    assert [row["action"] for row in (pressed, answered, synced, failed)] == [
        "verify.requested", "verify.succeeded", "sync.requested", "sync.failed"
    ]  # fmt: skip
    for row in (pressed, synced):
        assert (row["actor_type"], row["actor_id"], row["request_id"]) == ("user", ada.user_id, "by-request")
    for row in (answered, failed):
        assert (row["actor_type"], row["actor_id"]) == ("external_service", None)
        # What was asked by which request can be followed to its answer.
        assert row["request_id"] == "by-request"
    assert [str(row["operation_id"]) for row in (pressed, answered, synced, failed)] == [
        verification, verification, sync, sync
    ]  # fmt: skip
    assert pressed["changes"] == {"status": ["idle", "verifying"]}
    assert answered["changes"]["status"] == ["verifying", "idle"]
    assert answered["changes"]["latest_options"] == [None, {"spaces": "ENG"}]
    assert synced["changes"]["status"] == ["idle", "syncing"]
    assert failed["changes"]["last_sync_status"] == [None, "failed"]
    assert failed["changes"]["last_sync_error"] == [None, "quota"]
    assert "s3cr3t" not in str(rows(web, "SELECT * FROM audit_logs"))


def test_a_sync_that_nobody_here_asked_for_is_the_external_services(web: Flask, ada: Browser) -> None:
    apply_messages(web, a_sync_message(ada.connection(), "sync_started"))

    (row,) = trail(web)
    assert (row["action"], row["actor_type"], row["request_id"]) == ("sync.started", "external_service", None)
    assert row["changes"] == {"status": ["idle", "syncing"]}


def test_a_copy_of_an_answer_leaves_no_second_trace(web: Flask, ada: Browser) -> None:
    message = a_sync_message(ada.connection(), "sync_completed")

    apply_messages(web, message)
    apply_messages(web, message, message)

    assert [row["action"] for row in trail(web)] == ["sync.succeeded"]


def test_what_the_system_ends_is_the_systems(web: Flask, ada: Browser, path: str) -> None:
    operation_id = ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]
    now = datetime.now(UTC)

    with web.app_context(), unit_of_work(tenant_ids=[ada.organization_id]) as work:
        (claim,) = deliveries.claim_due_operations(
            work.session, [UUID(operation_id)], post_timeout=timedelta(seconds=1), now=now
        ).values()
        refused = AttemptOutcome(RetryVerdict.FINAL, status_code=401, error="refused")
        attempt = deliveries.AttemptResult(claim.operation, refused)
        deliveries.record_attempt_results(
            work.session, [attempt], retry_schedule_for=lambda _: (), deadlines=PATIENCE, now=now
        )

    row = trail(web)[-1]
    assert (row["action"], row["actor_type"], row["actor_id"]) == ("verify.undelivered", "system", None)
    assert row["changes"]["status"] == ["verifying", "idle"]
    assert "refused" in row["changes"]["last_verification_error"][1]


def test_what_expires_is_the_systems(web: Flask, ada: Browser, path: str) -> None:
    ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}})
    late = datetime.now(UTC) + timedelta(hours=1)

    with web.app_context(), unit_of_work(all_tenants=True) as work:
        operations.expire_overdue_operations(
            work.session, operations.find_connections_with_overdue_operations(work.session, now=late), now=late
        )

    row = trail(web)[-1]
    assert (row["action"], row["actor_type"]) == ("verify.expired", "system")
    assert row["changes"]["status"] == ["verifying", "idle"]


def test_deleting_and_restoring_are_told_apart(web: Flask) -> None:
    ada = Browser(web)
    connection_id = ada.post(PATH, {"type": "jira"}).json["data"]["id"]

    ada.delete(f"{PATH}/{connection_id}")
    ada.post(PATH, {"type": "jira"})

    deleted, restored = trail(web, "jira")
    assert (deleted["action"], restored["action"]) == ("connection.deleted", "connection.restored")
    assert deleted["changes"]["deleted_at"][0] is None
    assert restored["changes"]["deleted_at"][1] is None


@pytest.mark.parametrize("call", ["configure", "verify", "message"])
def test_without_its_trace_no_change_is_made(web: Flask, ada: Browser, path: str, call: str) -> None:
    before = ada.connection()
    settings = web.extensions["settings"]
    role = psycopg2.extensions.parse_dsn(settings.database_url)["user"]
    with closing(psycopg2.connect(settings.owner_database_url)) as owner, owner.cursor() as cursor:
        owner.autocommit = True
        cursor.execute(f'REVOKE INSERT ON audit_logs FROM "{role}"')
        try:
            if call == "configure":
                assert ada.patch(path, {"name": "Wiki"}).status_code == 500
            elif call == "verify":
                assert ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).status_code == 500
            else:
                with pytest.raises(Exception, match="permission denied"):
                    apply_messages(web, a_sync_message(before, "sync_completed"))
        finally:
            cursor.execute(f'GRANT INSERT ON audit_logs TO "{role}"')

    assert ada.connection() == before
    assert trail(web) == []
    assert rows(web, "SELECT id FROM operations") == []


def test_without_the_change_no_trace_is_left(web: Flask, ada: Browser, path: str) -> None:
    wanted = UUID(path.rsplit("/", 1)[1])
    ada_herself = Actor("user", id=ada.user_id)

    with suppress(RuntimeError), web.app_context(), unit_of_work(tenant_ids=[ada.organization_id]) as work:
        connections.configure_connection(
            work.session, wanted, fields={"name": "Wiki"}, actor=ada_herself, now=datetime.now(UTC)
        )
        raise RuntimeError("after all was written")

    assert ada.connection()["name"] == "Confluence"
    assert trail(web) == []


def large(letter: str) -> dict[str, str]:
    return {"spaces": "ENG", "notes": letter * 64_000}


def test_of_a_large_value_the_trail_keeps_beginning_length_and_hash(web: Flask, ada: Browser, path: str) -> None:
    for letter in "abba":
        assert ada.patch(path, {"config": large(letter)}).status_code == 200

    changes = [row["changes"]["config"] for row in trail(web)]
    written = json.dumps(large("a"), sort_keys=True)
    assert changes[0][0] == {}
    assert changes[0][1] == {
        "abridged": True,
        "bytes": len(written),
        "sha256": sha256(written.encode()).hexdigest(),
        "begins": written[:200],
    }
    assert len(changes) == 3, "the same value again is no change"
    assert changes[1] == [changes[0][1], changes[2][0]]
    assert changes[2][1] == changes[0][1]
    assert ada.get(path).json["data"]["config"] == large("a"), "the row itself is whole"
    kept = rows(
        web, "SELECT sum(octet_length(changes::text)) AS bytes FROM audit_logs WHERE action = 'connection.configured'"
    )
    assert kept[0]["bytes"] < 10_000
