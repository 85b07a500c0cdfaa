from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.outbound import events
from tests.factories import Browser, in_parallel, rows

PATH = "/api/data-sources"


def test_put_by_id_sets_the_fields_and_enables(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"

    answer = ada.put(path, {"name": "Wiki", "description": "Ours", "config": {"spaces": "ENG,PROD"}})

    assert answer.status_code == 200
    assert list(answer.json) == ["data"]
    shown = answer.json["data"]
    assert (shown["name"], shown["description"], shown["config"]) == ("Wiki", "Ours", {"spaces": "ENG,PROD"})
    assert shown["enabled"] is True
    assert ada.get(path).json["data"] == shown


def test_put_leaves_what_was_not_sent_as_it_is(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    ada.put(path, {"name": "Wiki", "config": {"spaces": "ENG"}})

    answer = ada.put(path, {"description": "Ours"})

    assert (answer.json["data"]["name"], answer.json["data"]["config"]) == ("Wiki", {"spaces": "ENG"})


def test_put_by_type_creates_the_connection(web: Flask) -> None:
    ada = Browser(web)

    answer = ada.put(f"{PATH}/confluence", {"config": {"spaces": "ENG"}})

    assert answer.status_code == 200
    assert answer.json["data"]["type"] == "confluence"
    assert answer.json["data"]["name"] == "Confluence"
    assert answer.json["data"]["config"] == {"spaces": "ENG"}
    assert answer.json["data"]["enabled"] is True
    assert ada.connection() == answer.json["data"]


def test_put_by_type_updates_the_connection_that_there_is(web: Flask) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()

    answer = ada.put(f"{PATH}/confluence", {"name": "Wiki"})

    assert (answer.json["data"]["id"], answer.json["data"]["name"]) == (connection_id, "Wiki")


def test_put_by_type_creates_a_type_that_is_turned_on(web: Flask) -> None:
    answer = Browser(web).put(f"{PATH}/jira", {})

    assert (answer.status_code, answer.json["data"]["type"]) == (200, "jira")


@pytest.mark.parametrize("name", ["dropbox", "gdrive", "Confluence", "not-an-id", "seed"])
def test_put_of_an_unknown_type_names_those_allowed(web: Flask, name: str) -> None:
    answer = Browser(web).put(f"{PATH}/{name}", {"name": "x"})

    assert answer.status_code == 400
    assert answer.json.pop("request_id")
    assert answer.json == {
        "error": "Invalid data source type",
        "message": f"Type '{name}' is not supported",
        "allowed_types": ["confluence", "servicenow", "sharepoint", "websearch", "jira"],
        "code": "invalid_type",
        "request_id": answer.json["request_id"],
    }


def test_parallel_puts_by_type_make_one_row_and_all_succeed(web: Flask) -> None:
    organization_id = uuid4()
    browsers = [Browser(web, organization_id=organization_id) for _ in range(8)]

    answers = in_parallel(8, lambda number: browsers[number].put(f"{PATH}/servicenow", {"name": f"Name {number}"}))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json["data"]["id"] for answer in answers}) == 1
    assert len(rows(web, "SELECT id FROM data_source_connections")) == 1


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, {}),
        ({"name": " Wiki "}, {"name": "Wiki"}),
        ({"description": "Ours"}, {"description": "Ours"}),
        ({"description": None}, {"description": None}),
        ({"config": {"spaces": "ENG"}}, {"config": {"spaces": "ENG"}}),
        ({"enabled": True}, {"enabled": True}),
        ({"name": "Wiki", "enabled": True}, {"name": "Wiki", "enabled": True}),
    ],
)
def test_patch_sets_what_was_sent_and_nothing_else(web: Flask, sent: dict[str, Any], expected: Any) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    before = ada.connection()

    answer = ada.patch(path, sent)

    assert answer.status_code == 200
    after = dict(answer.json["data"])
    assert after.pop("updated_at") >= before.pop("updated_at")
    assert (after.pop("version") != before.pop("version")) is bool(expected)
    assert after == before | expected
    assert ada.get(path).json == answer.json


def test_every_name_of_the_longest_list_of_options_can_be_chosen(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    names = [f"Team {number}, of many" for number in range(11_000)]

    answer = ada.patch(path, {"config": {"spaces": names}})

    assert answer.status_code == 200
    assert ada.get(path).json["data"]["config"] == {"spaces": names}


def test_config_is_replaced_as_a_whole(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    ada.patch(path, {"config": {"spaces": "ENG", "depth": 3}})

    answer = ada.patch(path, {"config": {"depth": 4}})

    assert answer.json["data"]["config"] == {"depth": 4}


@pytest.mark.parametrize(
    "value", [2**63 - 1, 1 - 2**63, 9e18, 0.1, 1e-300, 2.5e15, "", "\U0001f600 ä", True, None, [[]], {}]
)
def test_config_comes_back_as_it_was_sent(web: Flask, value: Any) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"

    ada.patch(path, {"config": {"value": value}})

    assert ada.get(path).json["data"]["config"] == {"value": value}
    assert ada.patch(path, {"config": ada.get(path).json["data"]["config"]}).status_code == 200


def test_the_person_who_changed_it_last_is_named(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    max_ = Browser(web, organization_id=ada.organization_id, role="member")

    shown = max_.patch(path, {"name": "Wiki"}).json["data"]

    assert (shown["created_by"], shown["updated_by"]) == (str(ada.user_id), str(max_.user_id))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_everyone_of_the_organization_configures_and_enables(web: Flask, method: str, role: str) -> None:
    ada = Browser(web, role=role)

    answer = ada.call(method, f"{PATH}/{ada.seeded()}", {"name": "Wiki", "enabled": True})

    assert (answer.status_code, answer.json["data"]["enabled"]) == (200, True)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("role", ["owner", "admin"])
def test_admins_and_owners_disable(web: Flask, method: str, role: str) -> None:
    ada = Browser(web, role=role)
    path = f"{PATH}/{ada.seeded()}"
    ada.patch(path, {"enabled": True})

    answer = ada.call(method, path, {"enabled": False})

    assert (answer.status_code, answer.json["data"]["enabled"]) == (200, False)


@pytest.mark.parametrize(
    ("method", "name"), [("PUT", "id"), ("PATCH", "id"), ("PUT", "confluence"), ("PUT", "sharepoint")]
)
def test_a_member_cannot_disable_and_changes_nothing_by_trying(web: Flask, method: str, name: str) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    ada.patch(path, {"enabled": True})
    member = Browser(web, organization_id=ada.organization_id, role="member")

    answer = member.call(method, path if name == "id" else f"{PATH}/{name}", {"name": "Closed", "enabled": False})

    assert (answer.status_code, answer.json["code"]) == (403, "admin_required")
    assert ada.get(path).json["data"]["enabled"] is True
    assert "Closed" not in ada.get(PATH).text


def test_what_did_not_change_is_not_written(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    shown = ada.put(path, {"name": "Wiki"}).json
    Browser(web, organization_id=ada.organization_id).put(path, {"name": "Wiki"})

    assert ada.get(path).json == shown


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, True), (True, 1), (0, False), (False, 0), ([1], [True]), ({"b": 0}, {"b": False}), ("1", 1), (None, False)],
)
def test_a_change_that_only_json_sees_is_made_told_and_recorded(
    web: Flask, redis: Redis, before: Any, after: Any
) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    ada.patch(path, {"config": {"recursive": before}})
    etag = ada.get(path).headers["ETag"]

    answer = ada.patch(path, {"config": {"recursive": after}})

    shown = ada.get(path)
    assert json.dumps(answer.json["data"]["config"]["recursive"]) == json.dumps(after)
    assert json.dumps(shown.json["data"]["config"]["recursive"]) == json.dumps(after)
    assert answer.headers["ETag"] == shown.headers["ETag"] != etag
    entry = ada.get(f"{path}/audit").json["data"][0]
    assert json.dumps(entry["changes"]["config"]) == json.dumps([{"recursive": before}, {"recursive": after}])
    assert json.dumps(last_event(redis, ada)["config"]) == json.dumps({"recursive": after})


@pytest.mark.parametrize("number", [1e16, 2.0**60, -1e18, 1e-7, -0.0, 1.0, 10**18])
def test_answer_event_and_etag_are_of_what_is_stored(web: Flask, redis: Redis, number: float) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"

    answer = ada.patch(path, {"config": {"n": number}})

    shown = ada.get(path)
    assert json.dumps(answer.json["data"]["config"]) == json.dumps(shown.json["data"]["config"])
    assert json.dumps(last_event(redis, ada)["config"]) == json.dumps(shown.json["data"]["config"])
    assert last_event(redis, ada)["version"] == shown.json["data"]["version"]
    assert ada.patch(path, {"name": "Next"}, headers={"If-Match": answer.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    ("before", "after"), [({"n": 1}, {"n": 1.0}), ({"n": 1e16}, {"n": 10**16}), ({"n": 0}, {"n": -0.0})]
)
def test_the_same_json_written_otherwise_is_no_change(web: Flask, before: Any, after: Any) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    first = ada.patch(path, {"config": before})

    second = ada.patch(path, {"config": after})

    assert second.json == first.json
    assert second.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize(
    "name",
    [
        "\u200b", "\u200b\u200d\ufeff", "\u202e\u202c", "\u2066\u2069", "\u00ad", "\u3164", "\u115f\u1160", "\uffa0",
        "\u2800", " \u200b ", "\u034f", "\u180e", "\ufe0f", "\U000e0041\U000e007f", "\u0085", "\x1f",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_nobody_can_see_is_blank(web: Flask, name: str) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"

    answer = ada.patch(path, {"name": name})

    assert (answer.status_code, answer.json["errors"]) == (422, [{"field": "name", "message": "must not be blank"}])
    assert ada.connection()["name"] == "Confluence"


@pytest.mark.parametrize("name", ["é", "ויקי\u200f", "👩\u200d💻", "\u202eabc", ".", "한", "\u0301a", "𓀀"], ids=ascii)
def test_a_name_with_anything_to_see_is_taken_as_it_is(web: Flask, name: str) -> None:
    ada = Browser(web)

    answer = ada.patch(f"{PATH}/{ada.seeded()}", {"name": name})

    assert (answer.status_code, answer.json["data"]["name"]) == (200, name)


def last_event(redis: Redis, person: Browser) -> Any:
    (entry,) = redis.xrevrange(f"{events.channel_of_organization(person.organization_id)}:events", count=1)
    return json.loads(entry[1][b"data"])
