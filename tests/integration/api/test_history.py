"""What has happened, as a person can look it up: operations, their attempts, the audit trail; and an end for one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.outbound.credential_store import REDIS_KEY_PREFIX
from tests.factories import Browser, a_sync_message, apply_messages, in_parallel, owner

PATH = "/api/data-sources"
PAGES = ["operations", "audit"]


@pytest.fixture
def ada(web: Flask) -> Browser:
    """Somebody whose web search can be synced."""
    person = Browser(web)
    person.put(f"{PATH}/websearch", {})
    return person


def path_of(person: Browser) -> str:
    return f"{PATH}/{person.connection('websearch')['id']}"


def sync(person: Browser, **options: Any) -> str:
    return str(person.post(f"{path_of(person)}/sync", **options).json["data"]["operation_id"])


def report(web: Flask, person: Browser, status: str, **fields: Any) -> None:
    message = a_sync_message(person.connection("websearch"), status, **fields)
    apply_messages(web, message)


def operations(person: Browser, query: str = "") -> Any:
    return person.get(f"{path_of(person)}/operations{query}").json


def test_operations_are_listed_newest_first_with_how_they_ended(web: Flask, ada: Browser) -> None:
    first = sync(ada)
    report(web, ada, "sync_failed", operation_id=first, error_message="The site is gone", documents_processed=7)
    second = sync(ada)

    listed = operations(ada)

    assert [(row["id"], row["state"], row["error"]) for row in listed["data"]] == [
        (second, "pending", None),
        (first, "failed", "The site is gone"),
    ]
    assert listed["next"] is None
    assert listed["data"][1]["documents_processed"] == 7
    assert listed["data"][1]["requested_email"] == "ada@example.org"
    assert ada.get(f"/api/operations/{first}").json == {"data": listed["data"][1]}


@pytest.mark.parametrize("what", PAGES)
def test_pages_lead_to_the_end_and_repeat_nothing(web: Flask, ada: Browser, what: str) -> None:
    for _ in range(3):
        report(web, ada, "sync_failed", operation_id=sync(ada))
    whole = ada.get(f"{path_of(ada)}/{what}?limit=100").json["data"]

    pages, before = [], ""
    while before is not None:
        page = ada.get(f"{path_of(ada)}/{what}?limit=2{before}").json
        pages += page["data"]
        before = page["next"] and f"&before={page['next']}"

    assert pages == whole
    assert len({row["id"] for row in pages}) == len(pages) >= 3


def test_the_audit_trail_says_who_changed_what(web: Flask, ada: Browser) -> None:
    ada.patch(path_of(ada), {"name": "Search"}, headers={"X-Request-ID": "rename-1"})
    report(web, ada, "sync_completed")

    reported, renamed, *_ = ada.get(f"{path_of(ada)}/audit").json["data"]

    assert (reported["actor_type"], reported["action"]) == ("external_service", "sync.succeeded")
    assert reported["changes"]["last_sync_status"] == [None, "completed"]
    assert (renamed["actor_type"], renamed["actor_id"]) == ("user", str(ada.user_id))
    assert (renamed["actor_email"], reported["actor_email"]) == ("ada@example.org", None)
    assert (renamed["action"], renamed["request_id"]) == ("connection.configured", "rename-1")
    assert renamed["changes"] == {"name": ["Web Search", "Search"]}


@pytest.mark.parametrize("what", PAGES)
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=٣", "before=yesterday", "limit="])
def test_a_page_that_cannot_be_is_refused(ada: Browser, what: str, query: str) -> None:
    answer = ada.get(f"{path_of(ada)}/{what}?{query}")

    assert (answer.status_code, answer.json["code"]) == (400, "invalid_page")


NO_NUMBERS = {
    "beyond-nine-digits": "0000000019999",
    "zeros-before-it": "007",
    "more-digits-than-an-int-is-read-from": "9" * 5_000,
    "zeros-alone": "0" * 5_000,
    "signed": "%2B5",
    "in-blanks": "%205",
    "a-power": "1e1",
    "with-underscores": "1_0",
}


@pytest.mark.parametrize("what", PAGES)
@pytest.mark.parametrize("written", NO_NUMBERS)
def test_one_number_is_read_checked_and_used(ada: Browser, what: str, written: str) -> None:
    for query in (f"limit={NO_NUMBERS[written]}", f"limit={NO_NUMBERS[written]}&limit=5"):
        answer = ada.get(f"{path_of(ada)}/{what}?{query}")

        assert (answer.status_code, answer.json["code"]) == (400, "invalid_page")


def as_written_before(web: Flask, person: Browser, *, rows: int, length: int) -> None:
    """Add audit rows of a release that kept every value whole; one row has two of this length."""
    values = {"organization": str(person.organization_id), "connection": person.connection("websearch")["id"]}
    with owner(web) as cursor:
        cursor.execute(
            "INSERT INTO audit_logs (id, organization_id, connection_id, actor_type, action, changes, created_at)"
            " SELECT ('f0000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, %(organization)s, %(connection)s,"
            " 'system', 'as.before', jsonb_build_object('config', jsonb_build_array("
            " repeat('x', %(length)s), repeat('y', %(length)s))), now() FROM generate_series(1, %(rows)s) AS n",
            values | {"rows": rows, "length": length},
        )


def test_a_page_ends_early_rather_than_outgrow_its_bytes(web: Flask, ada: Browser) -> None:
    as_written_before(web, ada, rows=12, length=300_000)

    pages, before = [], ""
    while before is not None:
        answer = ada.get(f"{path_of(ada)}/audit?limit=100{before}")
        assert len(answer.data) < 2.1 * 2**20
        pages.append([row["id"] for row in answer.json["data"]])
        before = answer.json["next"] and f"&before={answer.json['next']}"

    assert [len(page) for page in pages] == [3, 3, 3, 5]
    listed = [row for page in pages for row in page]
    assert listed == sorted(set(listed), reverse=True)


def test_a_row_that_is_larger_than_a_page_is_a_page(web: Flask, ada: Browser) -> None:
    as_written_before(web, ada, rows=1, length=1_500_000)

    first = ada.get(f"{path_of(ada)}/audit").json
    second = ada.get(f"{path_of(ada)}/audit?before={first['next']}").json

    assert [row["action"] for row in first["data"]] == ["as.before"]
    assert [row["action"] for row in second["data"]] == ["connection.configured", "connection.created"]


@pytest.mark.parametrize("what", PAGES)
def test_the_history_of_what_is_not_there_is_not_there(web: Flask, ada: Browser, what: str) -> None:
    eve = Browser(web)

    for path in (f"{PATH}/{uuid4()}/{what}", f"{PATH}/nonsense/{what}", f"{path_of(ada)}/{what}"):
        assert eve.get(path).status_code == 404


def test_an_admin_ends_an_operation_that_nobody_expects_an_answer_to(ada: Browser) -> None:
    operation_id = sync(ada)

    ended = ada.post(f"/api/operations/{operation_id}/end")

    assert ended.status_code == 200
    assert ended.json["data"]["state"] == "expired"
    shown = ada.connection("websearch")
    assert (shown["status"], shown["last_sync_status"]) == ("idle", "failed")
    assert shown["last_sync_error"] == "Ended by ada@example.org without an answer"
    assert ada.get(f"{path_of(ada)}/audit").json["data"][0]["action"] == "sync.ended"
    assert ada.post(f"{path_of(ada)}/sync").status_code == 200


def test_an_answer_that_comes_after_that_is_taken_all_the_same(web: Flask, ada: Browser) -> None:
    operation_id = sync(ada)
    ada.post(f"/api/operations/{operation_id}/end")

    report(web, ada, "sync_completed", operation_id=operation_id, documents_processed=7)

    found = ada.get(f"/api/operations/{operation_id}").json["data"]
    assert (found["state"], found["reported_late"]) == ("succeeded", True)
    assert ada.connection("websearch")["last_sync_status"] == "completed"


def test_what_has_ended_cannot_be_ended_again_and_is_told_how_it_ended(ada: Browser) -> None:
    operation_id = sync(ada)
    answers = in_parallel(4, lambda _: ada.post(f"/api/operations/{operation_id}/end"))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json
    assert refused["code"] == "operation_ended"
    assert refused["operation"] == {"id": operation_id, "state": "expired"}


def test_the_credentials_of_a_verification_that_is_ended_are_destroyed(ada: Browser, redis: Redis) -> None:
    ada.post(f"{PATH}/{ada.seeded('confluence')}/verify", {"credentials": {"api_token": "hunter2"}})
    operation_id = ada.connection("confluence")["operation"]["id"]
    assert redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")

    ada.post(f"/api/operations/{operation_id}/end")

    assert not redis.exists(f"{REDIS_KEY_PREFIX}{operation_id}")


def test_a_member_may_look_but_not_end(web: Flask, ada: Browser) -> None:
    operation_id = sync(ada)
    max_ = Browser(web, organization_id=ada.organization_id, role="member")

    answer = max_.post(f"/api/operations/{operation_id}/end")

    assert (answer.status_code, answer.json["code"]) == (403, "admin_required")
    assert max_.get(f"/api/operations/{operation_id}").json["data"]["state"] == "pending"


@pytest.mark.parametrize("role", ["member", "admin"])
def test_another_organizations_operation_does_not_exist(web: Flask, ada: Browser, role: str) -> None:
    operation_id, eve = sync(ada), Browser(web, role=role)

    answers = [eve.get(f"/api/operations/{operation_id}"), eve.post(f"/api/operations/{operation_id}/end")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert operations(ada)["data"][0]["state"] == "pending"


def test_a_repeated_press_with_the_same_key_is_the_same_sync(web: Flask, ada: Browser) -> None:
    path, headers = path_of(ada), {"Idempotency-Key": "press-1"}

    answers = in_parallel(4, lambda _: ada.post(f"{path}/sync", headers=headers))

    assert [answer.status_code for answer in answers] == [200] * 4
    (operation_id,) = {answer.json["data"]["operation_id"] for answer in answers}
    report(web, ada, "sync_completed", operation_id=operation_id)
    assert sync(ada, headers=headers) == operation_id
    assert ada.connection("websearch")["status"] == "idle"
    assert sync(ada, headers={"Idempotency-Key": "press-2"}) != operation_id


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "é"])
def test_a_key_that_cannot_be_is_refused(ada: Browser, key: str) -> None:
    answer = ada.post(f"{path_of(ada)}/sync", headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json["code"]) == (400, "invalid_idempotency_key")


def test_of_two_changes_based_on_the_same_version_the_second_is_refused(ada: Browser) -> None:
    path = path_of(ada)
    etag = ada.get(path).headers["ETag"]

    first = ada.patch(path, {"name": "First"}, headers={"If-Match": etag})
    second = ada.put(path, {"name": "Second"}, headers={"If-Match": etag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json["code"] == "changed_meanwhile"
    assert f'"{second.json["version"]}"' == first.headers["ETag"] != etag
    assert ada.put(path, {"name": "Second"}, headers={"If-Match": first.headers["ETag"]}).status_code == 200
    assert ada.put(path, {"name": "Third"}, headers={"If-Match": "*"}).status_code == 200
    assert ada.put(path, {"name": "Fourth"}).status_code == 200


@pytest.mark.parametrize(
    "as_sent",
    [
        '"{}"', 'W/"{}"', '"{}-gzip"', 'W/"{}-gzip"', '"{}-br"', '"{}--gzip"', '"{};gzip"', '"{}-zstd"', "{}",
        '"other", "{}"', '"other" , W/"{}-gzip"', "*",
    ],
)  # fmt: skip
def test_a_version_is_known_again_whatever_a_proxy_made_of_it(ada: Browser, as_sent: str) -> None:
    path = path_of(ada)
    version = ada.get(path).json["data"]["version"]

    answer = ada.patch(path, {"name": "Search"}, headers={"If-Match": as_sent.format(version)})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "as_sent", ["", '""', '"{}x"', '"x{}"', '"{}-"', '"-gzip"', 'W/"other"', '"other-gzip"', '"{}-gzip-x"']
)
def test_another_version_is_refused_however_it_is_written(ada: Browser, as_sent: str) -> None:
    path = path_of(ada)
    version = ada.get(path).json["data"]["version"]

    answer = ada.patch(path, {"name": "Search"}, headers={"If-Match": as_sent.format(version)})

    assert (answer.status_code, answer.json["code"]) == (412, "changed_meanwhile")
    assert ada.get(path).json["data"]["version"] == version


def test_what_the_service_reports_does_not_get_in_the_way_of_a_change(web: Flask, ada: Browser) -> None:
    etag = ada.get(path_of(ada)).headers["ETag"]
    report(web, ada, "sync_completed")

    assert ada.patch(path_of(ada), {"name": "Search"}, headers={"If-Match": etag}).status_code == 200


def test_the_types_on_offer_come_with_the_fields_of_their_forms(ada: Browser) -> None:
    types = {entry["name"]: entry for entry in ada.get("/api/data-source-types").json["data"]}

    assert list(types) == ["confluence", "servicenow", "sharepoint", "websearch", "jira"]
    fields = {field["name"]: field["secret"] for field in types["confluence"]["credential_fields"]}
    assert fields == {"url": False, "email": False, "api_token": True}
    kinds = {field["name"]: field["kind"] for field in types["confluence"]["credential_fields"]}
    assert kinds == {"url": "url", "email": "email", "api_token": "text"}
    assert all(field["help"] for field in types["confluence"]["credential_fields"])
    assert [entry["seeded"] for entry in types.values()] == [True, True, True, True, False]
