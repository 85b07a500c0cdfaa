from __future__ import annotations

from uuid import uuid4

import pytest
from flask import Flask

from tests.factories import Browser, in_parallel, rows

SEED = "/api/data-sources/seed"
# CONTRACT, section 2.
DEFAULTS = {
    "confluence": ("Confluence", "Connect your Atlassian Confluence workspace"),
    "servicenow": ("ServiceNow", "Connect your ServiceNow instance"),
    "sharepoint": ("SharePoint", "Connect your Microsoft SharePoint"),
    "websearch": ("Web Search", "Search the public web"),
}


def test_seed_creates_the_four_defaults_idle_and_disabled(web: Flask) -> None:
    ada = Browser(web)

    answer = ada.post(SEED)

    assert answer.status_code == 200
    assert answer.json == {
        "success": True,
        "created": 4,
        "existing": 0,
        "message": "Created 4 new data sources, 0 already existed",
    }
    found = ada.get("/api/data-sources").json["data"]
    assert {row["type"]: (row["name"], row["description"]) for row in found} == DEFAULTS
    assert {(row["status"], row["enabled"]) for row in found} == {("idle", False)}
    assert {(row["created_by"], row["updated_by"]) for row in found} == {(str(ada.user_id), str(ada.user_id))}


def test_a_second_seed_creates_nothing_and_changes_nothing(web: Flask) -> None:
    ada = Browser(web)
    ada.post(SEED)
    before = ada.get("/api/data-sources").json

    answer = ada.post(SEED)

    assert answer.json == {
        "success": True,
        "created": 0,
        "existing": 4,
        "message": "Created 0 new data sources, 4 already existed",
    }
    assert ada.get("/api/data-sources").json == before


def test_seed_creates_only_what_is_missing(web: Flask) -> None:
    ada = Browser(web)
    ada.put("/api/data-sources/sharepoint", {"name": "Our sites"})

    answer = ada.post(SEED)

    assert (answer.json["created"], answer.json["existing"]) == (3, 1)
    assert answer.json["message"] == "Created 3 new data sources, 1 already existed"
    assert ada.connection("sharepoint")["name"] == "Our sites"


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_everyone_of_the_organization_may_seed(web: Flask, role: str) -> None:
    assert Browser(web, role=role).post(SEED).json["created"] == 4


def test_parallel_seeds_make_exactly_four_rows(web: Flask) -> None:
    organization_id = uuid4()
    browsers = [Browser(web, organization_id=organization_id) for _ in range(8)]

    answers = in_parallel(8, lambda number: browsers[number].post(SEED))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum(answer.json["created"] for answer in answers) == 4
    assert all(answer.json["created"] + answer.json["existing"] == 4 for answer in answers)
    stored = rows(web, "SELECT type FROM data_source_connections WHERE organization_id = :id", id=organization_id)
    assert sorted(row["type"] for row in stored) == sorted(DEFAULTS)


def test_organizations_are_seeded_apart(web: Flask) -> None:
    ada, eve = Browser(web), Browser(web)
    ada.post(SEED)

    answer = eve.post(SEED)

    assert answer.json["created"] == 4
    ids = [{row["id"] for row in browser.get("/api/data-sources").json["data"]} for browser in (ada, eve)]
    assert not ids[0] & ids[1]
