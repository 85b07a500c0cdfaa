from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser, a_sync_message, a_verification_message, apply_messages

PATH = "/api/data-sources"


def types(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert list(answer.json) == ["data"]
    return sorted(row["type"] for row in answer.json["data"])


def test_an_organization_that_nobody_seeded_has_an_empty_list(web: Flask) -> None:
    assert Browser(web).get(PATH).json == {"data": []}


def test_what_was_enabled_once_is_neither_unconfigured_nor_pending_when_disabled(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"
    ada.patch(path, {"enabled": True})

    ada.patch(path, {"enabled": False})

    assert "confluence" not in types(ada.get(f"{PATH}?status=unconfigured"))
    assert "confluence" not in types(ada.get(f"{PATH}?status=pending"))


def test_what_was_verified_but_never_enabled_is_not_unconfigured(web: Flask) -> None:
    ada = Browser(web)
    ada.seeded()

    apply_messages(web, a_verification_message(ada.connection(), "failed", error="wrong token"))

    assert "confluence" not in types(ada.get(f"{PATH}?status=unconfigured"))


def test_a_completed_connection_that_syncs_again_is_only_syncing(web: Flask) -> None:
    ada = Browser(web)
    ada.seeded()
    apply_messages(web, a_sync_message(ada.connection(), "sync_completed"))

    apply_messages(web, a_sync_message(ada.connection(), "sync_started"))

    assert types(ada.get(f"{PATH}?status=syncing")) == ["confluence"]
    assert types(ada.get(f"{PATH}?status=completed")) == []
    assert "confluence" not in types(ada.get(f"{PATH}?status=idle"))


@pytest.mark.parametrize(
    "name",
    [
        "0199a1f4-6c3e-7000-8000-00000000c0de",
        "confluence",
        "seed",
        "7",
        "00000000-0000-0000-0000-00000000000g",
    ],
)
def test_what_is_no_connections_id_is_not_found(web: Flask, name: str) -> None:
    answer = Browser(web).get(f"{PATH}/{name}")

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_deleted_connections_are_invisible(web: Flask) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.post(PATH, {'type': 'jira'}).json['data']['id']}"

    assert ada.delete(path).status_code == 200

    assert types(ada.get(PATH)) == types(ada.get(f"{PATH}?type=jira")) == []
    answers = [ada.get(path), ada.put(path, {}), ada.patch(path, {}), ada.delete(path), ada.post(f"{path}/sync")]
    answers.append(ada.post(f"{path}/verify", {"credentials": {"api_token": "x"}}))
    assert [answer.status_code for answer in answers] == [404] * 6
