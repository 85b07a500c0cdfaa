"""A connection of a type that this release does not know: made by a later one, before a rollback or beside this one."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from redis import Redis

from app.outbound import events
from tests.factories import (
    Browser,
    a_sync_message,
    a_verification_message,
    apply_messages,
    as_owner,
)

PATH = "/api/data-sources"
LATER = "of_a_later_release"


@pytest.fixture
def ada(web: Flask) -> Browser:
    """Somebody one of whose four connections is of a type that nobody here knows."""
    person = Browser(web)
    person.seeded()
    as_owner(
        web,
        f"SELECT set_config('app.system', 'on', true); UPDATE data_source_connections SET type = '{LATER}'"  # noqa: S608 - two constants
        f" WHERE organization_id = '{person.organization_id}' AND type = 'sharepoint'",
    )
    return person


def of_ada(person: Browser) -> dict[str, Any]:
    (found,) = [each for each in person.get(PATH).json["data"] if each["type"] == LATER]
    return dict(found)


def told(redis: Redis, organization_id: UUID) -> list[str]:
    entries = redis.xrange(f"{events.channel_of_organization(organization_id)}:events")
    return [json.loads(fields[b"data"])["change"] for _, fields in entries]


def test_it_is_listed_and_shown_plainly(ada: Browser) -> None:
    listed = ada.get(PATH)

    assert listed.status_code == 200
    assert len(listed.json["data"]) == 4
    shown = of_ada(ada)
    assert ada.get(f"{PATH}/{shown['id']}").json["data"] == shown
    assert shown["display"] == {
        "state": "unconfigured",
        "reason": "This release of Rita does not know this kind of source yet",
        "actor": None,
        "action": None,
        "alternative": None,
        "advice": None,
        "note": None,
        "ending": None,
    }


def test_it_can_be_configured_switched_off_verified_and_synced(web: Flask, redis: Redis, ada: Browser) -> None:
    path = f"{PATH}/{of_ada(ada)['id']}"

    changed = ada.patch(path, {"config": {"drive": "x"}, "enabled": True})
    verifying = ada.post(f"{path}/verify", {"credentials": {"api_key": "k"}})
    verification = verifying.json["operation_id"]
    apply_messages(web, a_verification_message(of_ada(ada), options={"drives": "x,y"}, operation_id=verification))
    syncing = ada.post(f"{path}/sync")
    sync = syncing.json["data"]["operation_id"]
    apply_messages(web, a_sync_message(of_ada(ada), "sync_completed", operation_id=sync))

    assert [answer.status_code for answer in (changed, verifying, syncing)] == [200, 200, 200]
    assert of_ada(ada)["display"]["state"] == "completed"
    assert ada.patch(path, {"enabled": False}).json["data"]["display"]["state"] == "disabled"
    assert told(redis, ada.organization_id)[-4:] == [
        "connection.configured",
        "verify.requested",
        "sync.requested",
        "connection.configured",
    ]


def test_it_wants_credentials_as_far_as_anybody_knows(ada: Browser) -> None:
    path = f"{PATH}/{of_ada(ada)['id']}"
    ada.patch(path, {"enabled": True})

    assert ada.post(f"{path}/verify", {}).status_code == 422
    assert ada.post(f"{path}/sync").json["code"] == "not_configured"


@pytest.mark.parametrize("role", ["admin", "member"])
def test_it_is_not_deleted_for_it_may_be_one_that_seed_creates(web: Flask, ada: Browser, role: str) -> None:
    path = f"{PATH}/{of_ada(ada)['id']}"

    answer = Browser(web, organization_id=ada.organization_id, role=role).delete(path)

    assert answer.status_code == {"admin": 409, "member": 403}[role]
    assert len(ada.get(PATH).json["data"]) == 4


def test_seeding_and_other_connections_go_on_beside_it(ada: Browser) -> None:
    assert ada.post(f"{PATH}/seed").json["created"] == 1
    assert ada.put(f"{PATH}/websearch", {"name": "Search"}).status_code == 200
    assert len(ada.get(PATH).json["data"]) == 5
