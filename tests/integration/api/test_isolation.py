from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser, rows

PATH = "/api/data-sources"

CALLS = [
    ("GET", "", None),
    ("PUT", "", {"name": "Stolen"}),
    ("PUT", "", {"enabled": False}),
    ("PATCH", "", {"name": "Stolen"}),
    ("PATCH", "", {"enabled": False}),
    ("PATCH", "", {}),
    ("DELETE", "", None),
    ("POST", "/verify", {"credentials": {"api_token": "x"}}),
    ("POST", "/verify", {}),
    ("POST", "/sync", None),
    ("POST", "/sync", {"force": True}),
]


@pytest.mark.parametrize(("method", "suffix", "body"), CALLS, ids=str)
@pytest.mark.parametrize("role", ["owner", "admin", "member"])
@pytest.mark.parametrize("type_name", ["confluence", "jira"])
def test_another_organizations_connection_is_not_found(
    web: Flask, method: str, suffix: str, body: Any, role: str, type_name: str
) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/{type_name}", {})
    before = ada.connection(type_name)
    eve = Browser(web, role=role)

    answer = eve.call(method, f"{PATH}/{before['id']}{suffix}", body)

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert ada.connection(type_name) == before
    assert rows(web, "SELECT id FROM operations") == []


def test_the_answer_tells_another_organizations_connection_from_none_by_nothing(web: Flask) -> None:
    ada, eve = Browser(web), Browser(web)
    headers = {"X-Request-ID": "same"}

    theirs = eve.get(f"{PATH}/{ada.seeded()}", headers=headers)
    nobodys = eve.get(f"{PATH}/{eve.user_id}", headers=headers)

    assert theirs.json == nobodys.json


def test_no_list_shows_another_organizations_connections(web: Flask) -> None:
    ada, eve = Browser(web), Browser(web)
    ada.seeded()

    for query in ("", "?status=idle", "?type=confluence", "?enabled=false", f"?organization_id={ada.organization_id}"):
        assert eve.get(PATH + query).json == {"data": []}


@pytest.mark.parametrize("field", ["organization_id", "tenant_id", "id", "type", "created_by", "status", "deleted_at"])
def test_no_body_chooses_what_the_token_or_the_product_decides(web: Flask, field: str) -> None:
    ada, eve = Browser(web), Browser(web)

    answer = ada.patch(f"{PATH}/{ada.seeded()}", {field: str(eve.organization_id)})

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)
