from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from devstack.ports import free_port
from tests.factories import Browser, a_sync_message, a_verification_message, apply_messages, in_parallel, rows

PATH = "/api/data-sources"


@pytest.fixture
def ada(web: Flask) -> Browser:
    """Somebody whose Confluence is enabled and verified, ready to be synced."""
    ada = Browser(web)
    ada.put(f"{PATH}/confluence", {"name": "Wiki", "config": {"spaces": "ENG"}})
    apply_messages(web, a_verification_message(ada.connection(), options={"spaces": "ENG,PROD"}))
    return ada


def press(browser: Browser, type_name: str = "confluence", **options: Any) -> Any:
    return browser.post(f"{PATH}/{browser.connection(type_name)['id']}/sync", **options)


def operations(web: Flask) -> list[dict[str, Any]]:
    return rows(web, "SELECT * FROM operations WHERE origin = 'user' ORDER BY id")


@pytest.mark.parametrize(
    "options",
    [{}, {"body": {}}, {"body": {"force": False}}, {"body": {"force": True}}, {"content_type": "application/json"}],
    ids=str,
)
def test_a_press_sets_syncing_and_the_time(ada: Browser, options: dict[str, Any]) -> None:
    before = datetime.now(UTC)

    answer = press(ada, **options)

    assert answer.status_code == 200
    assert list(answer.json) == ["success", "data"]
    assert answer.json["success"] is True
    shown = ada.connection()
    data = answer.json["data"]
    assert (data["id"], data["status"]) == (shown["id"], "syncing")
    assert before <= datetime.fromisoformat(data["triggered_at"]) <= datetime.now(UTC)
    assert shown["status"] == "syncing"
    assert shown["last_sync_at"] == data["triggered_at"]
    assert (shown["operation"]["id"], shown["operation"]["kind"]) == (data["operation_id"], "sync")


def test_the_press_is_kept_with_all_that_its_webhook_says(web: Flask, ada: Browser) -> None:
    press(ada, headers={"X-Request-ID": "press-1"})

    (operation,) = operations(web)
    assert (operation["kind"], operation["origin"], operation["state"]) == ("sync", "user", "pending")
    assert operation["requested_by"] == ada.user_id
    assert operation["requested_email"] == "ada@example.org"
    assert operation["request_id"] == "press-1"
    assert operation["request"] == {"connection_name": "Wiki", "config": {"spaces": "ENG"}}


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_everyone_of_the_organization_syncs(web: Flask, ada: Browser, role: str) -> None:
    assert press(Browser(web, organization_id=ada.organization_id, role=role)).status_code == 200


def test_what_is_disabled_is_not_synced(web: Flask, ada: Browser) -> None:
    ada.patch(f"{PATH}/{ada.connection()['id']}", {"enabled": False})

    answer = press(ada)

    assert (answer.status_code, answer.json["code"]) == (409, "connection_disabled")
    assert "enable" in answer.json["message"]
    assert operations(web) == []


@pytest.mark.parametrize("body", [None, {"force": True}], ids=str)
@pytest.mark.parametrize("type_name", ["confluence", "servicenow", "sharepoint", "jira"])
def test_what_needs_credentials_is_not_synced_before_they_were_verified(web: Flask, type_name: str, body: Any) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/{type_name}", {})

    answer = press(ada, type_name, body=body)

    assert (answer.status_code, answer.json["code"]) == (409, "not_configured")
    assert ada.connection(type_name)["status"] == "idle"
    assert operations(web) == []


def test_a_failed_verification_does_not_configure(web: Flask) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/confluence", {})
    apply_messages(web, a_verification_message(ada.connection(), "failed", error="wrong token"))

    assert press(ada).json["code"] == "not_configured"


def test_a_failed_verification_does_not_undo_an_earlier_good_one(web: Flask, ada: Browser) -> None:
    apply_messages(web, a_verification_message(ada.connection(), "failed", error="wrong token"))

    assert press(ada).status_code == 200


def test_websearch_needs_no_verification(web: Flask) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/websearch", {})

    assert press(ada, "websearch").status_code == 200


def test_a_second_press_is_refused_and_names_the_running_sync(web: Flask, ada: Browser) -> None:
    first = press(ada).json["data"]

    answer = press(ada)

    assert (answer.status_code, answer.json["code"]) == (409, "sync_in_progress")
    assert answer.json["operation"] == {
        "id": first["operation_id"],
        "kind": "sync",
        "state": "pending",
        "requested_at": first["triggered_at"],
    }
    assert len(operations(web)) == 1


def test_a_press_is_refused_while_credentials_are_verified(ada: Browser) -> None:
    path = f"{PATH}/{ada.connection()['id']}"
    running = ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]

    answer = ada.post(f"{path}/sync")

    assert (answer.status_code, answer.json["code"]) == (409, "verification_in_progress")
    assert (answer.json["operation"]["id"], answer.json["operation"]["kind"]) == (running, "verify")


def test_a_press_is_refused_while_the_service_syncs_by_its_own_schedule(web: Flask, ada: Browser) -> None:
    apply_messages(web, a_sync_message(ada.connection(), "sync_started"))

    answer = press(ada)

    assert (answer.status_code, answer.json["code"]) == (409, "sync_in_progress")
    assert answer.json["operation"]["state"] == "running"


def test_force_replaces_the_running_sync(web: Flask, ada: Browser) -> None:
    first = press(ada).json["data"]["operation_id"]

    answer = press(ada, body={"force": True})

    second = answer.json["data"]["operation_id"]
    assert (answer.status_code, second != first) == (200, True)
    assert {str(row["id"]): row["state"] for row in operations(web)} == {first: "replaced", second: "pending"}
    shown = ada.connection()
    assert (shown["status"], shown["operation"]["id"]) == ("syncing", second)


def test_force_replaces_a_running_verification_and_destroys_its_seal(ada: Browser, redis: Redis) -> None:
    path = f"{PATH}/{ada.connection()['id']}"
    verification = ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}).json["operation_id"]

    answer = ada.post(f"{path}/sync", {"force": True})

    assert (answer.status_code, ada.connection()["status"]) == (200, "syncing")
    assert not redis.exists(f"rita:credentials:{verification}")


def test_the_answer_to_a_replaced_sync_changes_nothing_visible(web: Flask, ada: Browser) -> None:
    first = press(ada).json["data"]["operation_id"]
    press(ada, body={"force": True})
    before = ada.connection()

    apply_messages(web, a_sync_message(ada.connection(), "sync_completed", operation_id=first))

    assert ada.connection() == before


def test_after_the_answer_it_can_be_synced_again(web: Flask, ada: Browser) -> None:
    first = press(ada).json["data"]["operation_id"]
    apply_messages(web, a_sync_message(ada.connection(), "sync_failed", error_message="quota", operation_id=first))
    assert ada.connection()["last_sync_error"] == "quota"

    assert press(ada).status_code == 200


@pytest.mark.parametrize(
    "content", ['{"force": "true"}', '{"force": 1}', '{"force": null}', '{"depth": 1}', "[]", "null", '"force"']
)
def test_a_body_of_another_shape_is_refused(web: Flask, ada: Browser, content: str) -> None:
    answer = press(ada, data=content, content_type="application/json")

    assert (answer.status_code, answer.json["code"]) == (422, "validation_error")
    assert operations(web) == []


def test_fifty_presses_at_once_give_one_sync_and_forty_nine_that_name_it(web: Flask, ada: Browser) -> None:
    connection_id = ada.connection()["id"]
    browsers = [Browser(web, organization_id=ada.organization_id) for _ in range(50)]

    answers = in_parallel(50, lambda number: browsers[number].post(f"{PATH}/{connection_id}/sync"))

    (started,) = [answer.json["data"] for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [(answer.status_code, answer.json["code"]) for answer in refused] == [(409, "sync_in_progress")] * 49
    assert {answer.json["operation"]["id"] for answer in refused} == {started["operation_id"]}
    assert [str(row["id"]) for row in operations(web)] == [started["operation_id"]]


def test_parallel_forced_presses_all_succeed_and_one_stays_open(web: Flask, ada: Browser) -> None:
    connection_id = ada.connection()["id"]
    browsers = [Browser(web, organization_id=ada.organization_id) for _ in range(8)]

    answers = in_parallel(
        8, lambda number: browsers[number].post(f"{PATH}/{connection_id}/sync", {"force": True}).status_code
    )

    assert answers == [200] * 8
    assert sorted(row["state"] for row in operations(web)) == ["pending"] + ["replaced"] * 7


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_without_a_broker_the_sync_waits_in_the_database(
    web: Flask, ada: Browser, another_app: Callable[..., Flask], scheme: str
) -> None:
    unheard = another_app(rabbitmq_url=f"{scheme}://127.0.0.1:{free_port()}//")
    started = datetime.now(UTC)

    answer = press(Browser(unheard, organization_id=ada.organization_id))

    assert answer.status_code == 200
    assert (datetime.now(UTC) - started).total_seconds() < 8
    (operation,) = operations(web)
    assert (operation["state"], operation["attempts"]) == ("pending", 0)
    assert operation["next_attempt_at"] <= datetime.now(UTC)
    assert ada.connection()["status"] == "syncing"


def test_without_redis_a_sync_still_starts(ada: Browser, another_app: Callable[..., Flask]) -> None:
    silent = another_app(redis_url=f"redis://127.0.0.1:{free_port()}/0")

    assert press(Browser(silent, organization_id=ada.organization_id)).status_code == 200


@pytest.mark.parametrize("how", ["PUT", "PATCH"])
def test_disabling_ends_a_sync_that_waits_for_another_attempt(web: Flask, ada: Browser, how: str) -> None:
    press(ada)

    answer = ada.call(how, f"{PATH}/{ada.connection()['id']}", {"enabled": False})

    assert answer.status_code == 200
    assert (answer.json["data"]["status"], answer.json["data"]["last_sync_status"]) == ("idle", "failed")
    assert answer.json["data"]["last_sync_error"] == "Ended when ada@example.org disabled the data source"
    (operation,) = operations(web)
    assert (operation["state"], operation["next_attempt_at"]) == ("expired", None)


def test_disabling_leaves_what_the_service_has_and_a_verification_alone(web: Flask, ada: Browser) -> None:
    press(ada)
    (operation,) = operations(web)
    apply_messages(web, a_sync_message(ada.connection(), "sync_started", operation_id=str(operation["id"])))
    ada.patch(f"{PATH}/{ada.connection()['id']}", {"enabled": False})
    assert [operation["state"] for operation in operations(web)] == ["running"]

    ada.put(f"{PATH}/websearch", {})
    ada.post(f"{PATH}/{ada.connection('websearch')['id']}/verify", {"credentials": {}})
    ada.patch(f"{PATH}/{ada.connection('websearch')['id']}", {"enabled": False})
    assert ada.connection("websearch")["status"] == "verifying"
