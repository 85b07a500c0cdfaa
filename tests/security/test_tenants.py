"""Two organizations, and everything that one of them has tried against the other, on every rule that Flask knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from app.outbound import events
from tests.factories import Browser
from tests.places import holding, of_database
from tests.security.rules import Call, calls
from tests.security.victims import PATH, Snapshot, Victim

# Whatever a rule takes, one of these is of its shape; the others are refused, and alike.
BODIES: list[Any] = [
    None,
    {},
    {"name": "Stolen"},
    {"enabled": False},
    {"config": {"spaces": "STOLEN"}},
    {"credentials": {"api_token": "x"}, "settings": {}},
    {"force": True},
    {"type": "jira", "name": "Stolen"},
    {"name": 7},
]


def arguments_of(call: Call, connection_id: str, operation_id: str) -> dict[str, str]:
    """Return what to put into a rule's path: an operation's id where it asks for one, else a connection's."""
    return {name: operation_id if "operation" in name else connection_id for name in call.arguments}


def told(answer: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return all that an answer tells."""
    return answer.status_code, answer.data, sorted((k, v) for k, v in answer.headers if k != "Date")


def attacked(app: Flask) -> list[Call]:
    return [call for call in calls(app) if call.rule.startswith("/api/") and call.arguments]


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_whatever_is_asked_of_anothers_id_is_answered_as_if_it_were_nobodys(
    web: Flask, ada: Victim, snapshot: Callable[[], Snapshot], role: str
) -> None:
    eve = Browser(web, role=role)
    before, same = snapshot(), {"X-Request-ID": "same"}
    refused: dict[str, set[int]] = {}

    for call in attacked(web):
        for body in BODIES:
            nobodys = told(eve.call(call.method, call.path(str(uuid4())), body, headers=same))
            for connection_id, operation_id in zip(ada.connections, [*ada.operations, ada.operations[0]], strict=True):
                path = call.path(arguments_of(call, connection_id, operation_id))
                theirs = told(eve.call(call.method, path, body, headers=same))
                assert theirs == nobodys, (str(call), body)
                assert not ada.named_in(theirs[1].decode())
            refused.setdefault(str(call), set()).add(nobodys[0])

    assert len(refused) >= 6
    assert {call: statuses for call, statuses in refused.items() if 404 not in statuses} == {}
    # Whoever's it is, it is not there: what is no right shape is told first, but never a missing right or a conflict.
    assert set().union(*refused.values()) <= {400, 404, 415, 422}
    assert snapshot() == before


def test_every_way_of_writing_anothers_id_is_nobodys_too(
    web: Flask, ada: Victim, eve: Browser, snapshot: Callable[[], Snapshot]
) -> None:
    before = snapshot()
    plain = ada.connections[0]
    spellings = [
        plain.upper(),
        plain.replace("-", ""),
        f"{{{plain}}}",
        f"urn:uuid:{plain}",
        f" {plain}",
        f"{plain}\x00",
    ]

    for call in attacked(web):
        for written in spellings:
            answer = eve.call(call.method, call.path(written), {})
            assert answer.status_code in (400, 404, 415, 422), (str(call), written)
            assert set(ada.named_in(answer.text)) <= {plain}, "an unknown type may be repeated, nothing else"
    assert snapshot() == before


def test_nothing_that_needs_no_id_tells_of_another_organization(
    web: Flask, ada: Victim, eve: Browser, snapshot: Callable[[], Snapshot]
) -> None:
    before = snapshot()
    asked = [call for call in calls(web) if not call.arguments and call.endpoint != "stream.stream"]
    hers, connection = str(ada.organization_id), ada.connections[0]
    queries = [
        {},
        {
            "organization_id": hers,
            "tenant_id": hers,
            "organization": hers,
            "channel": events.channel_of_organization(ada.organization_id),
        },
        {"id": connection, "connection_id": connection, "operation_id": ada.operations[0]},
        *({"type": name} for name in ("websearch", "confluence", "jira")),
        *(
            {"status": name}
            for name in ("idle", "verifying", "syncing", "unconfigured", "pending", "completed", "failed")
        ),
        *({"enabled": value} for value in ("true", "false")),
        {"type": "websearch", "status": "syncing", "enabled": "true", "name": ada.word},
    ]
    bodies = [{"organization_id": hers, "tenant_id": hers, "id": connection}, *BODIES]

    for call in asked:
        for query in queries:
            for body in bodies if call.method in ("POST", "PUT", "PATCH") else [None]:
                with eve.call(call.method, call.path(), body, query_string=query) as answer:
                    assert not ada.named_in(answer.text), (str(call), query, body)
    assert len(asked) >= 4
    assert snapshot() == before


def test_nobody_is_counted_with_another_organization(web: Flask, ada: Victim) -> None:
    eve = Browser(web)
    assert eve.get(PATH).json == {"data": []}

    seeded = eve.post(f"{PATH}/seed").json

    assert (seeded["created"], seeded["existing"]) == (4, 0)
    for status in ("syncing", "verifying", "pending", "completed", "failed"):
        assert eve.get(f"{PATH}?status={status}").json == {"data": []}
    assert len(ada.get(f"{PATH}?status=syncing").json["data"]) == 1


def test_the_name_that_somebody_gave_to_a_press_means_nothing_elsewhere(
    ada: Victim, eve: Browser, snapshot: Callable[[], Snapshot]
) -> None:
    eve.put(f"{PATH}/websearch", {})
    before = snapshot()

    path = f"{PATH}/{eve.connection('websearch')['id']}/sync"
    pressed = eve.post(path, headers={"Idempotency-Key": ada.word})

    assert pressed.status_code == 200
    hers = pressed.json["data"]["operation_id"]
    assert hers not in ada.operations
    after = snapshot()
    after["operations"] = [row for row in after["operations"] if hers not in row]
    assert after == before


@pytest.mark.parametrize("field", ["organization_id", "tenant_id", "id", "type", "created_by", "status", "deleted_at"])
def test_no_body_chooses_what_the_token_or_the_product_decides(ada: Victim, eve: Browser, field: str) -> None:
    answer = ada.patch(f"{PATH}/{ada.connections[0]}", {field: str(eve.organization_id)})

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


def test_a_picture_of_what_is_adas_would_show_a_change(
    ada: Victim, snapshot: Callable[[], Snapshot], superuser: str
) -> None:
    before = snapshot()

    ada.patch(f"{PATH}/{ada.connections[0]}", {"description": "changed"})

    after = snapshot()
    assert {place for place in before if before[place] != after[place]} >= {
        "data_source_connections",
        "audit_logs",
        "redis",
    }
    assert any("rita:credentials:" in text for text in before["redis"])
    assert holding(ada.word, dict(of_database(superuser)))
