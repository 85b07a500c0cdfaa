from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from tests.factories import Browser, a_verification_message, apply_messages, in_parallel, rows

PATH = "/api/data-sources"
SEEDED = ["confluence", "servicenow", "sharepoint", "websearch"]


def test_nothing_can_be_created_while_no_type_is_turned_on(another_app: Callable[..., Flask], web: Flask) -> None:
    bare = another_app(enabled_data_source_types=())

    for role in ("owner", "admin", "member"):
        for body in ({"type": "jira"}, {"type": "confluence"}, {}):
            answer = Browser(bare, role=role).post(PATH, body)
            assert (answer.status_code, answer.json["code"]) == (501, "creation_unavailable")
    assert rows(web, "SELECT id FROM data_source_connections") == []


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_a_type_that_is_turned_on_can_be_created(web: Flask, role: str) -> None:
    ada = Browser(web, role=role)

    answer = ada.post(PATH, {"type": "jira", "name": "Tickets", "config": {"projectKeys": "ENG"}})

    assert answer.status_code == 201
    assert list(answer.json) == ["data"]
    shown = answer.json["data"]
    assert (shown["type"], shown["name"], shown["config"]) == ("jira", "Tickets", {"projectKeys": "ENG"})
    assert (shown["status"], shown["created_by"]) == ("idle", str(ada.user_id))
    assert ada.get(f"{PATH}/{shown['id']}").json == answer.json


def test_what_was_not_sent_is_the_types_default(web: Flask) -> None:
    shown = Browser(web).post(PATH, {"type": "jira"}).json["data"]

    assert (shown["name"], shown["description"]) == ("Jira", "Connect your Atlassian Jira projects")
    assert (shown["config"], shown["enabled"]) == ({}, False)


def test_every_optional_type_can_be_turned_on(another_app: Callable[..., Flask]) -> None:
    names = ("jira", "gdrive", "slack", "notion", "zendesk")
    ada = Browser(another_app(enabled_data_source_types=names))

    created = [ada.post(PATH, {"type": name}).status_code for name in names]

    assert created == [201] * 5


def test_a_type_that_is_not_turned_on_is_unknown(web: Flask) -> None:
    answer = Browser(web).post(PATH, {"type": "slack"})

    assert (answer.status_code, answer.json["code"]) == (400, "invalid_type")
    assert answer.json["allowed_types"] == [*SEEDED, "jira"]


@pytest.mark.parametrize("type_name", SEEDED)
def test_a_seeded_type_is_not_created_this_way(web: Flask, type_name: str) -> None:
    answer = Browser(web).post(PATH, {"type": type_name})

    assert (answer.status_code, answer.json["code"]) == (409, "already_exists")
    assert "seed" in answer.json["message"]


@pytest.mark.parametrize("body", [{}, {"type": None}, {"type": 7}, {"type": "jira", "status": "syncing"}], ids=str)
def test_a_body_of_another_shape_creates_nothing(web: Flask, body: Any) -> None:
    answer = Browser(web).post(PATH, body)

    assert (answer.status_code, answer.json["code"]) == (422, "validation_error")


def test_an_organization_has_one_connection_of_a_type(web: Flask) -> None:
    ada = Browser(web)
    ada.post(PATH, {"type": "jira", "name": "First"})

    answer = ada.post(PATH, {"type": "jira", "name": "Second"})

    assert (answer.status_code, answer.json["code"]) == (409, "already_exists")
    assert ada.connection("jira")["name"] == "First"


def test_parallel_creations_make_one_row(web: Flask) -> None:
    ada = Browser(web)
    browsers = [Browser(web, organization_id=ada.organization_id) for _ in range(8)]

    answers = in_parallel(8, lambda number: browsers[number].post(PATH, {"type": "jira"}))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len(rows(web, "SELECT id FROM data_source_connections")) == 1


@pytest.mark.parametrize("type_name", SEEDED)
def test_members_cannot_delete_a_seeded_connection(web: Flask, type_name: str) -> None:
    ada = Browser(web, role="member")

    answer = ada.delete(f"{PATH}/{ada.seeded(type_name)}")

    assert answer.status_code == 403
    assert "disable" in answer.json["message"]
    assert ada.connection(type_name)


@pytest.mark.parametrize("role", ["owner", "admin"])
@pytest.mark.parametrize("type_name", SEEDED)
def test_admins_are_told_to_disable_a_seeded_connection_instead(web: Flask, role: str, type_name: str) -> None:
    ada = Browser(web, role=role)

    answer = ada.delete(f"{PATH}/{ada.seeded(type_name)}")

    assert (answer.status_code, answer.json["code"]) == (409, "cannot_delete_seeded")
    assert "disable" in answer.json["message"]
    assert ada.connection(type_name)


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_admins_delete_a_connection_of_another_type(web: Flask, role: str) -> None:
    ada = Browser(web, role=role)
    connection_id = ada.post(PATH, {"type": "jira"}).json["data"]["id"]

    answer = ada.delete(f"{PATH}/{connection_id}")

    assert answer.status_code == 200
    assert set(answer.json["data"]) == {"id", "deleted_at"}
    assert answer.json["data"]["id"] == connection_id
    (row,) = rows(web, "SELECT * FROM data_source_connections")
    assert row["deleted_at"] == datetime.fromisoformat(answer.json["data"]["deleted_at"])
    assert ada.delete(f"{PATH}/{connection_id}").status_code == 404


def test_members_cannot_delete_at_all(web: Flask) -> None:
    ada = Browser(web, role="member")
    connection_id = ada.post(PATH, {"type": "jira"}).json["data"]["id"]

    answer = ada.delete(f"{PATH}/{connection_id}")

    assert (answer.status_code, answer.json["code"]) == (403, "admin_required")
    assert ada.connection("jira")["id"] == connection_id


def test_deleting_ends_what_runs(web: Flask) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/jira", {})
    apply_messages(web, a_verification_message(ada.connection("jira")))
    path = f"{PATH}/{ada.connection('jira')['id']}"
    ada.post(f"{path}/sync")

    assert ada.delete(path).status_code == 200

    (row,) = rows(web, "SELECT * FROM operations WHERE origin = 'user'")
    assert row["state"] == "replaced"


def test_deleting_destroys_the_seal_of_a_running_verification(web: Flask, redis: Redis) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/jira", {})
    path = f"{PATH}/{ada.connection('jira')['id']}"
    verification = ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]

    assert ada.delete(path).status_code == 200

    assert not redis.exists(f"rita:credentials:{verification}")


@pytest.mark.parametrize(("method", "path", "status"), [("POST", PATH, 201), ("PUT", f"{PATH}/jira", 200)])
def test_what_was_deleted_is_restored_under_its_id(web: Flask, method: str, path: str, status: int) -> None:
    ada = Browser(web)
    first = ada.post(PATH, {"type": "jira", "name": "Tickets"}).json["data"]
    ada.delete(f"{PATH}/{first['id']}")
    body = {"description": "Back again"} | ({"type": "jira"} if method == "POST" else {})

    answer = ada.call(method, path, body)

    assert answer.status_code == status
    shown = answer.json["data"]
    assert (shown["id"], shown["description"], shown["status"]) == (first["id"], "Back again", "idle")
    assert ada.connection("jira") == shown
    assert len(rows(web, "SELECT id FROM data_source_connections")) == 1


def test_another_organizations_deleted_connection_is_not_restored(web: Flask) -> None:
    ada, eve = Browser(web), Browser(web)
    first = ada.post(PATH, {"type": "jira"}).json["data"]["id"]
    ada.delete(f"{PATH}/{first}")

    second = eve.post(PATH, {"type": "jira"}).json["data"]["id"]

    assert second != first
    assert ada.get(f"{PATH}?type=jira").json["data"] == []


def test_a_put_by_type_during_deletes_and_creations_never_finds_nothing(web: Flask) -> None:
    ada = Browser(web)
    colleagues = [Browser(web, organization_id=ada.organization_id) for _ in range(6)]

    def work(number: int) -> list[int]:
        mine, seen = colleagues[number], []
        for _ in range(20):
            if number % 2:
                seen.append(mine.put(f"{PATH}/jira", {"name": f"Name {number}"}).status_code)
                continue
            for shown in mine.get(f"{PATH}?type=jira").json["data"]:
                mine.delete(f"{PATH}/{shown['id']}")
        return seen

    assert {status for seen in in_parallel(6, work) for status in seen} == {200}
