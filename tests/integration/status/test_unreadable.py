"""Answers that cannot be read: dead letters, and nobody waits for them until a deadline."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from app.domain.lifecycle import UNREADABLE_ANSWER_MESSAGE
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.status.conftest import Apply, Database

pytestmark = pytest.mark.usefixtures("letters")


@pytest.fixture
def ada(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def connection(ada: Browser) -> dict[str, Any]:
    ada.put("/api/data-sources/websearch", {})
    return ada.connection("websearch")


@pytest.fixture
def verification(ada: Browser, connection: dict[str, Any]) -> str:
    """An open verification's id."""
    return str(ada.post(f"/api/data-sources/{connection['id']}/verify", {}).json["operation_id"])


@pytest.fixture
def sync(ada: Browser, connection: dict[str, Any]) -> str:
    """An open sync's id."""
    return str(ada.post(f"/api/data-sources/{connection['id']}/sync").json["data"]["operation_id"])


UNREAD = {
    "not_json": lambda said: json.dumps(said)[:-1],
    "wrong_shape": lambda said: json.dumps(said | {"status": "perhaps"}),
    "unknown_type": lambda said: json.dumps(said | {"type": "gossip"}),
    "enveloped": lambda said: json.dumps({"pattern": "data_source_status", "data": said}),
}


@pytest.mark.parametrize("reason", UNREAD)
def test_a_verification_whose_answer_cannot_be_read_ends_at_once(
    apply: Apply, ada: Browser, connection: dict[str, Any], verification: str, reason: str
) -> None:
    letters = apply(UNREAD[reason](a_verification_message(connection, operation_id=verification)))

    shown = ada.connection("websearch")
    assert [letter.reason for letter in letters] == [reason]
    assert (shown["status"], shown["last_verification_error"]) == ("idle", UNREADABLE_ANSWER_MESSAGE)


@pytest.mark.parametrize("reason", UNREAD)
def test_so_does_a_sync(apply: Apply, ada: Browser, connection: dict[str, Any], sync: str, reason: str) -> None:
    apply(UNREAD[reason](a_sync_message(connection, "sync_completed", operation_id=sync)))

    shown = ada.connection("websearch")
    assert (shown["status"], shown["last_sync_status"], shown["last_sync_error"]) == (
        "idle",
        "failed",
        UNREADABLE_ANSWER_MESSAGE,
    )


def test_it_is_audited_as_the_external_services_doing(
    apply: Apply, connection: dict[str, Any], verification: str, database_rows: Database
) -> None:
    apply(UNREAD["wrong_shape"](a_verification_message(connection, operation_id=verification)))

    audited = database_rows("SELECT * FROM audit_logs WHERE operation_id = %s ORDER BY id", verification)
    assert [(row["actor_type"], row["action"]) for row in audited][-1] == ("external_service", "verify.unreadable")


def test_an_answer_that_can_be_read_and_comes_later_repairs_it(
    apply: Apply, ada: Browser, connection: dict[str, Any], verification: str, database_rows: Database
) -> None:
    good = a_verification_message(connection, operation_id=verification, options={"sites": ["Sales, EMEA", "HR"]})
    apply(UNREAD["not_json"](good))

    apply(good)

    shown, (operation,) = ada.connection("websearch"), database_rows.operations(connection["id"])
    assert (shown["last_verification_error"], shown["latest_options"]) == (None, {"sites": ["Sales, EMEA", "HR"]})
    assert (operation["state"], operation["error"], operation["reported_late"]) == ("succeeded", None, True)


@pytest.mark.parametrize("turned", [False, True], ids=["the bad one first", "the good one first"])
def test_in_one_batch_the_one_that_can_be_read_counts(
    apply: Apply, ada: Browser, connection: dict[str, Any], sync: str, *, turned: bool
) -> None:
    good = a_sync_message(connection, "sync_completed", operation_id=sync, documents_processed=3)
    bodies = [UNREAD["wrong_shape"](good), json.dumps(good)]

    letters = apply(*(reversed(bodies) if turned else bodies))

    assert [letter.reason for letter in letters] == ["wrong_shape"]
    assert (ada.connection("websearch")["status"], ada.connection("websearch")["last_sync_status"]) == (
        "idle",
        "completed",
    )


def test_a_copy_changes_nothing(
    apply: Apply, connection: dict[str, Any], verification: str, database_rows: Database
) -> None:
    bad = UNREAD["not_json"](a_verification_message(connection, operation_id=verification))
    apply(bad)
    row, operations = database_rows.row(connection["id"]), database_rows.operations(connection["id"])
    audited = database_rows("SELECT count(*) FROM audit_logs")

    apply(bad, bad)

    assert database_rows.row(connection["id"]) == row
    assert database_rows.operations(connection["id"]) == operations
    assert database_rows("SELECT count(*) FROM audit_logs") == audited


def test_it_ends_nothing_of_another_tenants_nor_of_another_connections(
    apply: Apply, app: Flask, ada: Browser, connection: dict[str, Any], verification: str
) -> None:
    eve = Browser(app)
    eve.put("/api/data-sources/websearch", {})
    good = a_verification_message(connection, operation_id=verification)
    hers = eve.connection("websearch")

    letters = apply(
        UNREAD["not_json"](good | {"tenant_id": str(eve.organization_id)}),
        UNREAD["not_json"](good | {"tenant_id": str(eve.organization_id), "connection_id": hers["id"]}),
        UNREAD["not_json"](good | {"connection_id": hers["id"]}),
        UNREAD["not_json"](good | {"operation_id": str(uuid4())}),
        UNREAD["not_json"]({key: value for key, value in good.items() if key != "operation_id"}),
        # So that her tenant is in the batch's scope, whatever row-level security would let through.
        a_verification_message(hers),
    )

    assert [letter.reason for letter in letters] == ["not_json"] * 5
    assert ada.connection("websearch")["status"] == "verifying"


def test_a_broken_answer_does_not_keep_the_others_of_its_batch_from_being_applied(
    apply: Apply, app: Flask, connection: dict[str, Any], verification: str
) -> None:
    eve = Browser(app)
    eve.seeded()

    apply(
        UNREAD["enveloped"](a_verification_message(connection, operation_id=verification)),
        a_sync_message(eve.connection(), "sync_completed"),
    )

    assert eve.connection()["last_sync_status"] == "completed"


@pytest.fixture
def confluence(ada: Browser) -> tuple[dict[str, Any], str]:
    """A connection of a type that reads `spaces`, and its open verification's id."""
    ada.seeded("confluence")
    found = ada.connection("confluence")
    verifying = ada.post(f"/api/data-sources/{found['id']}/verify", {"credentials": {"api_token": "x"}})
    return found, str(verifying.json["operation_id"])


@pytest.mark.parametrize("other", [{"sites": 2}, {"total": 7}, {"tables": {"a": 1}}], ids=repr)
def test_an_option_of_another_type_harms_nothing(
    apply: Apply, ada: Browser, confluence: tuple[dict[str, Any], str], other: dict[str, Any]
) -> None:
    about, verification = confluence

    letters = apply(a_verification_message(about, operation_id=verification, options={"spaces": "A,B"} | other))

    assert letters == []
    assert ada.connection("confluence")["latest_options"] == {"spaces": "A,B"}


@pytest.mark.parametrize("options", [{"spaces": 2}, {"spaces": {"A": 1}}, ["A"], "A,B"], ids=repr)
def test_an_option_of_its_type_that_is_no_choice_is_an_answer_that_cannot_be_read(
    apply: Apply, ada: Browser, confluence: tuple[dict[str, Any], str], options: Any
) -> None:
    about, verification = confluence

    letters = apply(a_verification_message(about, operation_id=verification, options=options))

    shown = ada.connection("confluence")
    assert [letter.reason for letter in letters] == ["wrong_shape"]
    assert (shown["status"], shown["last_verification_error"]) == ("idle", UNREADABLE_ANSWER_MESSAGE)


def test_a_type_without_options_reads_none(
    apply: Apply, ada: Browser, connection: dict[str, Any], verification: str
) -> None:
    assert apply(a_verification_message(connection, operation_id=verification, options=["A"])) == []

    shown = ada.connection("websearch")
    assert (shown["last_verification_error"], shown["latest_options"]) == (None, None)
