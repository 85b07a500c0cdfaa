"""The operators' commands on operations and keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from click.testing import Result
from cryptography.fernet import Fernet
from flask import Flask

from app.cli.operations import TABLE_HEADINGS
from tests.factories import Browser

PATH = "/api/data-sources"
Command = Callable[..., Result]


@pytest.fixture
def command(web: Flask) -> Command:
    return lambda *words: web.test_cli_runner().invoke(args=list(words))


@pytest.fixture
def ada(web: Flask) -> Browser:
    person = Browser(web)
    person.put(f"{PATH}/websearch", {})
    return person


def sync(person: Browser) -> str:
    path = f"{PATH}/{person.connection('websearch')['id']}/sync"
    return str(person.post(path).json["data"]["operation_id"])


def listed(command: Command, *words: str) -> list[dict[str, Any]]:
    done = command("operations", "list", "--json", *words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_open_operations_of_every_organization_are_listed_oldest_first(
    web: Flask, ada: Browser, command: Command
) -> None:
    eve = Browser(web)
    eve.put(f"{PATH}/websearch", {})
    operations = [sync(ada), sync(eve)]

    assert [row["id"] for row in listed(command)] == operations
    assert [row["id"] for row in listed(command, "--organization", str(eve.organization_id))] == operations[1:]
    assert listed(command, "--state", "failed") == []
    heading, *rows, count = command("operations", "list").output.splitlines()
    assert heading.split() == list(TABLE_HEADINGS)
    assert [row.split()[5] for row in rows] == [str(ada.organization_id), str(eve.organization_id)]
    assert count == "2 operations"


def test_one_operation_is_shown_whole(ada: Browser, command: Command) -> None:
    operation_id = sync(ada)

    shown = command("operations", "show", operation_id)

    assert shown.exit_code == 0
    assert "attempt_log" in shown.output
    assert json.loads(command("operations", "show", operation_id, "--json").output)["id"] == operation_id


def test_an_operation_that_waits_for_its_next_attempt_can_be_attempted_now(ada: Browser, command: Command) -> None:
    operation_id = sync(ada)
    (before,) = listed(command)

    done = command("operations", "retry", operation_id)

    assert (done.exit_code, done.output.strip()) == (0, "A worker has been told")
    assert listed(command)[0]["next_attempt_at"] > before["next_attempt_at"]


def test_an_operation_can_be_ended_and_then_no_more(ada: Browser, command: Command) -> None:
    operation_id = sync(ada)

    assert command("operations", "end", operation_id).exit_code == 1, "it was not confirmed"
    assert ada.connection("websearch")["status"] == "syncing"

    assert command("operations", "end", operation_id, "--yes").exit_code == 0
    assert ada.connection("websearch")["last_sync_error"] == "Ended by an operator without an answer"
    for again in (["end", operation_id, "--yes"], ["retry", operation_id]):
        refused = command("operations", *again)
        assert refused.exit_code == 1
        assert refused.output.startswith("Error: This operation")


@pytest.mark.parametrize("words", [["show"], ["retry"], ["end", "--yes"]])
def test_what_is_not_there_is_told_in_a_sentence(command: Command, words: list[str]) -> None:
    done = command("operations", *words, str(uuid4()))

    assert done.exit_code == 1
    assert done.output.startswith("Error: There is no operation with this id")


def test_organizations_are_listed_with_what_they_have(ada: Browser, command: Command) -> None:
    ada.seeded()
    sync(ada)

    done = command("organizations", "--json")

    (row,) = [json.loads(line) for line in done.output.splitlines()]
    assert row["id"] == str(ada.organization_id)
    assert (row["connections"], row["at_work"]) == (4, 1)
    assert "1 organization\n" in command("organizations").output


def test_a_new_seal_key_goes_in_front_of_those_in_use(web: Flask, command: Command) -> None:
    done = command("seal-keys", "rotate")

    first, *rest = done.stdout.strip().split(",")
    assert rest == list(web.extensions["settings"].seal_keys)
    assert Fernet(first)


def test_a_token_for_trying_things_out_is_accepted(web: Flask, command: Command) -> None:
    organization = str(uuid4())

    done = command("token", "--organization", organization, "--email", "ada@example.org", "--role", "admin")

    token = done.output.strip()
    answer = web.test_client().post(f"{PATH}/seed", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert jwt.decode(token, options={"verify_signature": False})["organization_id"] == organization


def test_a_token_for_trying_things_out_has_the_claims_that_are_configured(
    web: Flask, another_app: Callable[..., Flask]
) -> None:
    assert web
    names = {"jwt_claim_user": "oid", "jwt_claim_organization": "meta.org", "jwt_claim_role": "roles"}
    app = another_app(**names, jwt_issuer="https://id.example.org", jwt_role_map="Rita.Admin:admin,*:member")
    words = ["token", "--organization", str(uuid4()), "--email", "ada@example.org", "--role"]

    done = app.test_cli_runner().invoke(args=[*words, "admin"])
    refused = app.test_cli_runner().invoke(args=[*words, "owner"])

    headers = {"Authorization": f"Bearer {done.output.strip()}"}
    assert app.test_client().post(f"{PATH}/seed", headers=headers).status_code == 200
    assert jwt.decode(done.output.strip(), options={"verify_signature": False})["roles"] == "Rita.Admin"
    assert (refused.exit_code, "JWT_ROLE_MAP maps nothing to owner" in refused.output) == (1, True)


def test_where_tokens_are_signed_elsewhere_none_can_be_made(another_app: Callable[..., Flask]) -> None:
    elsewhere = another_app(jwt_secret=None, jwt_jwks_url="https://issuer.example.org/keys")

    done = elsewhere.test_cli_runner().invoke(args=["token", "--organization", str(uuid4()), "--email", "a@b.example"])

    assert done.exit_code == 1
    assert "public key" in done.output
