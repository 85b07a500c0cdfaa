from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet, InvalidToken
from flask import Flask
from redis import Redis

from app.outbound.credential_store import REDIS_KEY_PREFIX
from devstack.ports import free_port
from tests.factories import Browser, a_verification_message, apply_messages, in_parallel, rows

PATH = "/api/data-sources"
SECRET = "correct-horse-battery-staple"
TABLES = ("organizations", "audit_logs", "data_source_connections", "operations")

# CONTRACT, section 2.
SHAPES = [
    {"api_token": SECRET, "email": "ada@example.org", "url": "https://wiki.example.org"},
    {"api_key": SECRET, "api_secret": SECRET},
    {"api_key": SECRET},
    {"username": "ada", "password": SECRET},
    {"access_token": SECRET, "refresh_token": SECRET, "expires_at": 1_800_000_000, "token_type": "Bearer"},
    {"client_id": "rita", "client_secret": SECRET, "tenant_id": "acme"},
]
CREDENTIALS = {"credentials": SHAPES[0]}


def sealed(redis: Redis) -> dict[bytes, bytes]:
    return {key: redis.get(key) for key in redis.scan_iter(f"{REDIS_KEY_PREFIX}*")}


def verify(browser: Browser, connection_id: Any, body: Any = CREDENTIALS) -> Any:
    return browser.post(f"{PATH}/{connection_id}/verify", body)


@pytest.fixture(autouse=True)
def _no_seals(redis: Redis) -> None:
    for key in redis.scan_iter(f"{REDIS_KEY_PREFIX}*"):
        redis.delete(key)


@pytest.mark.parametrize("credentials", SHAPES, ids="+".join)
@pytest.mark.parametrize("alias", ["settings", "config"])
def test_every_known_shape_is_passed_on_with_its_settings(
    web: Flask, redis: Redis, credentials: Any, alias: str
) -> None:
    ada = Browser(web)

    answer = verify(ada, ada.seeded(), {"credentials": credentials, alias: {"spaces": "ENG"}})

    assert answer.status_code == 200
    assert (answer.json["status"], answer.json["message"]) == ("verifying", "Verification in progress")
    ((key, content),) = sealed(redis).items()
    assert key.decode() == REDIS_KEY_PREFIX + answer.json["operation_id"]
    opened = Fernet(web.extensions["settings"].seal_keys[0]).decrypt(content)
    assert json.loads(opened)["content"] == {"credentials": credentials, "settings": {"spaces": "ENG"}}


def test_the_connection_is_verifying_and_shows_the_operation(web: Flask) -> None:
    ada = Browser(web)
    before = datetime.now(UTC)

    answer = verify(ada, ada.seeded())

    shown = ada.connection()
    assert shown["status"] == "verifying"
    assert (shown["operation"]["id"], shown["operation"]["kind"]) == (answer.json["operation_id"], "verify")
    assert shown["operation"]["state"] == "pending"
    deadline = datetime.fromisoformat(answer.json["deadline_at"])
    assert before + timedelta(minutes=2) <= deadline <= datetime.now(UTC) + timedelta(minutes=2)
    assert shown["last_verification_at"] is None


def test_nothing_of_the_body_is_in_any_table(web: Flask) -> None:
    ada = Browser(web)
    body = {
        "credentials": {"username": "somebody-special", "password": SECRET},
        "settings": {"instance": "https://of-the-settings.example.org"},
    }

    assert verify(ada, ada.seeded("servicenow"), body).status_code == 200

    stored = " ".join(str(rows(web, f"SELECT t::text FROM {table} t")) for table in TABLES)  # noqa: S608
    assert "verify.requested" in stored
    for text in (SECRET, "somebody-special", "of-the-settings", "password", "username"):
        assert text not in stored


def test_nothing_of_the_body_can_be_read_in_redis_without_the_key(web: Flask, redis: Redis) -> None:
    ada = Browser(web)

    verify(ada, ada.seeded())

    for key in redis.scan_iter("*"):
        if redis.type(key) == b"string":
            assert SECRET.encode() not in redis.get(key)
    (content,) = sealed(redis).values()
    with pytest.raises(InvalidToken):
        Fernet(Fernet.generate_key()).decrypt(content)


def test_the_seal_ends_with_the_deadline(web: Flask, redis: Redis) -> None:
    ada = Browser(web)

    answer = verify(ada, ada.seeded())

    left = datetime.fromisoformat(answer.json["deadline_at"]) - datetime.now(UTC)
    (key,) = sealed(redis)
    assert timedelta(minutes=1) < timedelta(milliseconds=redis.pttl(key)) <= left + timedelta(milliseconds=50)


def test_no_answer_repeats_a_credential(web: Flask) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()

    answers = [verify(ada, connection_id), verify(ada, connection_id), ada.get(PATH)]

    assert [answer.status_code for answer in answers] == [200, 409, 200]
    assert all(SECRET not in answer.text for answer in answers)


def test_a_second_verification_is_refused_while_one_runs_and_leaves_nothing(web: Flask, redis: Redis) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()
    first = verify(ada, connection_id).json["operation_id"]

    answer = verify(ada, connection_id)

    assert (answer.status_code, answer.json["code"]) == (409, "verification_in_progress")
    assert (answer.json["operation"]["id"], answer.json["operation"]["kind"]) == (first, "verify")
    assert [key.decode() for key in sealed(redis)] == [REDIS_KEY_PREFIX + first]


def test_a_verification_is_refused_while_a_sync_runs(web: Flask, redis: Redis) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/websearch", {})
    path = f"{PATH}/{ada.connection('websearch')['id']}"
    sync = ada.post(f"{path}/sync").json["data"]["operation_id"]

    answer = ada.post(f"{path}/verify", {"credentials": {"api_key": SECRET}})

    assert (answer.status_code, answer.json["code"]) == (409, "sync_in_progress")
    assert answer.json["operation"]["id"] == sync
    assert sealed(redis) == {}


def test_parallel_verifications_open_one_operation(web: Flask, redis: Redis) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()
    browsers = [Browser(web, organization_id=ada.organization_id) for _ in range(8)]

    answers = in_parallel(8, lambda number: verify(browsers[number], connection_id))

    (first,) = [answer.json["operation_id"] for answer in answers if answer.status_code == 200]
    refused = [answer.json for answer in answers if answer.status_code == 409]
    assert len(refused) == 7
    assert {body["operation"]["id"] for body in refused} == {first}
    assert [key.decode() for key in sealed(redis)] == [REDIS_KEY_PREFIX + first]


def test_after_the_answer_it_can_be_verified_again(web: Flask) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()
    first = verify(ada, connection_id).json["operation_id"]
    apply_messages(web, a_verification_message(ada.connection(), "failed", error="wrong", operation_id=first))

    answer = verify(ada, connection_id)

    assert answer.status_code == 200
    assert answer.json["operation_id"] != first


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_everyone_verifies_even_what_is_disabled(web: Flask, role: str) -> None:
    ada = Browser(web, role=role)
    connection_id = ada.seeded()
    assert ada.connection()["enabled"] is False

    answer = verify(ada, connection_id)

    assert answer.status_code == 200
    assert ada.connection()["enabled"] is False


@pytest.mark.parametrize(
    "credentials",
    [
        {"cookie": SECRET},
        {"password": SECRET},
        {"username": "ada"},
        {"client_id": "rita"},
        {"refresh_token": SECRET},
        {"api_secret": SECRET},
        {"api_token": ""},
        {"api_token": None},
        {"api_token": {"value": SECRET}},
        {"api_token": [SECRET]},
        [SECRET],
        SECRET,
        None,
    ],
    ids=str,
)
def test_credentials_of_no_known_shape_are_refused_without_being_repeated(
    web: Flask, redis: Redis, credentials: Any
) -> None:
    ada = Browser(web)

    answer = verify(ada, ada.seeded(), {"credentials": credentials})

    assert (answer.status_code, answer.json.get("code")) == (422, "validation_error")
    assert answer.json["errors"]
    assert SECRET not in answer.text
    assert sealed(redis) == {}
    assert ada.connection()["status"] == "idle"


@pytest.mark.parametrize("body", [{}, {"credentials": {}}, {"settings": {"spaces": "ENG"}}], ids=str)
@pytest.mark.parametrize("type_name", ["confluence", "servicenow", "sharepoint", "jira"])
def test_a_type_that_needs_credentials_is_not_verified_without(
    web: Flask, redis: Redis, type_name: str, body: Any
) -> None:
    ada = Browser(web)
    ada.put(f"{PATH}/{type_name}", {})

    answer = verify(ada, ada.connection(type_name)["id"], body)

    assert (answer.status_code, answer.json.get("code")) == (422, "validation_error")
    assert [error["field"] for error in answer.json["errors"]] == ["credentials"]
    assert sealed(redis) == {}


@pytest.mark.parametrize("body", [{}, {"credentials": {"api_key": SECRET}}], ids=str)
def test_websearch_is_verified_with_and_without_credentials(web: Flask, body: Any) -> None:
    ada = Browser(web)

    answer = verify(ada, ada.seeded("websearch"), body)

    assert (answer.status_code, ada.connection("websearch")["status"]) == (200, "verifying")


@pytest.mark.parametrize(
    "content",
    [
        '{"credentials": {"api_token": NaN}}',
        '{"credentials": {"access_token": "x", "expires_at": 1e400}}',
        '{"credentials": {"api_token": "x"}, "settings": {"a": NaN}}',
        '{"credentials": {"api_token": "x"}, "settings": {"a": "\\u0000"}}',
        '{"credentials": {"api_token": "x"}, "settings": {}, "webhook": "https://evil.example.org"}',
    ],
)
def test_what_the_service_could_not_read_is_refused(web: Flask, content: str) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}/verify"

    answer = ada.post(path, data=content, content_type="application/json")

    assert (answer.status_code, answer.json.get("code")) == (422, "validation_error")


def test_an_unknown_connection_leaves_no_seal(web: Flask, redis: Redis) -> None:
    answer = verify(Browser(web), uuid4())

    assert answer.status_code == 404
    assert sealed(redis) == {}


def test_without_redis_nothing_is_verified_and_nothing_left_behind(
    web: Flask, another_app: Callable[..., Flask]
) -> None:
    ada = Browser(web)
    connection_id = ada.seeded()
    deaf = another_app(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    before = rows(web, "SELECT * FROM data_source_connections WHERE type = 'confluence'")
    audited = rows(web, "SELECT id FROM audit_logs")

    answer = verify(Browser(deaf, organization_id=ada.organization_id), connection_id)

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")
    assert SECRET not in answer.text
    assert rows(web, "SELECT id FROM operations") == []
    assert rows(web, "SELECT * FROM data_source_connections WHERE type = 'confluence'") == before
    assert rows(web, "SELECT id FROM audit_logs") == audited
