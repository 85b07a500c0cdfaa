from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser, a_sync_message, a_verification_message, apply_messages, forget_organizations

PATH = "/api/data-sources"
# CONTRACT, section 1: every column but `deleted_at`.
COLUMNS = {
    "id", "organization_id", "type", "name", "description", "config", "status", "last_sync_status", "latest_options",
    "enabled", "last_verification_at", "last_verification_error", "last_sync_at", "last_sync_error", "created_by",
    "updated_by", "created_at", "updated_at",
}  # fmt: skip
ALL = ["confluence", "jira", "servicenow", "sharepoint", "websearch"]


@pytest.fixture(scope="module")
def ada(flask_app: Flask) -> Iterator[Browser]:
    """Somebody whose organization has a connection in every state that a filter can name; here it is only looked at."""
    ada = Browser(flask_app)
    ada.post(f"{PATH}/seed")
    ada.post(PATH, {"type": "jira"})
    for type_name in ("servicenow", "sharepoint", "websearch", "jira"):
        ada.patch(f"{PATH}/{ada.connection(type_name)['id']}", {"enabled": True})
    credentials = {"username": "rita", "password": "hunter2"}
    ada.post(f"{PATH}/{ada.connection('servicenow')['id']}/verify", {"credentials": credentials})
    apply_messages(
        flask_app,
        a_sync_message(ada.connection("sharepoint"), "sync_completed"),
        a_sync_message(ada.connection("websearch"), "sync_failed", error_message="quota"),
        a_verification_message(ada.connection("jira")),
    )
    assert ada.post(f"{PATH}/{ada.connection('jira')['id']}/sync").status_code == 200
    yield ada
    forget_organizations(flask_app)


def types(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert list(answer.json) == ["data"]
    return sorted(row["type"] for row in answer.json["data"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=idle", ["confluence", "sharepoint", "websearch"]),
        ("status=verifying", ["servicenow"]),
        ("status=syncing", ["jira"]),
        ("status=unconfigured", ["confluence"]),
        ("status=pending", ["servicenow"]),
        ("status=completed", ["sharepoint"]),
        ("status=failed", ["websearch"]),
        ("type=confluence", ["confluence"]),
        ("type=jira", ["jira"]),
        ("enabled=true", ["jira", "servicenow", "sharepoint", "websearch"]),
        ("enabled=false", ["confluence"]),
        ("status=idle&enabled=true", ["sharepoint", "websearch"]),
        ("status=idle&enabled=false", ["confluence"]),
        ("status=completed&type=sharepoint&enabled=true", ["sharepoint"]),
        ("status=completed&type=websearch", []),
        ("status=pending&enabled=false", []),
        ("page=2&sort=name", ALL),
    ],
)
def test_filters_narrow_the_list(ada: Browser, query: str, expected: Any) -> None:
    assert types(ada.get(f"{PATH}?{query}")) == expected


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_everyone_of_the_organization_sees_all(flask_app: Flask, ada: Browser, role: str) -> None:
    colleague = Browser(flask_app, organization_id=ada.organization_id, role=role)

    assert types(colleague.get(PATH)) == ALL
    assert colleague.get(f"{PATH}/{ada.connection()['id']}").status_code == 200


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("status=done", "status"),
        ("status=", "status"),
        ("status=IDLE", "status"),
        ("enabled=yes", "enabled"),
        ("enabled=", "enabled"),
        ("enabled=1", "enabled"),
    ],
)
def test_a_filter_value_that_cannot_be_is_refused_with_those_that_can(flask_app: Flask, query: str, name: str) -> None:
    answer = Browser(flask_app).get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert answer.json["code"] == "invalid_parameter"
    assert answer.json["message"].startswith(f"{name} must be one of ")
    assert ("idle" if name == "status" else "true") in answer.json["allowed"]


def test_an_unknown_type_in_the_filter_gets_the_answer_for_unknown_types(flask_app: Flask) -> None:
    answer = Browser(flask_app).get(f"{PATH}?type=dropbox")

    assert answer.status_code == 400
    assert answer.json["error"] == "Invalid data source type"
    assert answer.json["message"] == "Type 'dropbox' is not supported"
    assert sorted(answer.json["allowed_types"]) == ALL


# What helps a reader besides.
ADDED = {"operation", "display", "version", "last_sync_documents"}


def test_an_answer_holds_every_column_but_the_deletion_and_what_runs(ada: Browser) -> None:
    shown = ada.get(f"{PATH}/{ada.connection('servicenow')['id']}").json

    assert list(shown) == ["data"]
    assert set(shown["data"]) == COLUMNS | ADDED
    assert shown["data"]["operation"]["kind"] == "verify"
    assert shown["data"]["display"]["state"] == "verifying"
    assert datetime.fromisoformat(shown["data"]["created_at"]).utcoffset() is not None
    listed = ada.get(PATH).json["data"]
    assert [set(row) for row in listed] == [COLUMNS | ADDED] * 5
    assert shown["data"] in listed


def test_no_answer_holds_a_credential(ada: Browser) -> None:
    answers = ada.get(PATH).text + ada.get(f"{PATH}/{ada.connection('servicenow')['id']}").text

    assert "hunter2" not in answers
    assert "api_token" not in answers
