"""Two organizations, and everything that one of them has tried against the other, on every rule that Flask knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.api.limits import PREFIX
from app.config import Settings
from app.outbound import events
from app.outbound.broker import DeadLetter, DeadLetterQueue, connected, declare, plain_queue
from tests.e2e.browser import Person
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.sse.conftest import Web
from tests.places import holding, of_database, of_redis
from tests.security.rules import Call, calls
from tests.waiting import eventually

PATH = "/api/data-sources"
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
Snapshot = dict[str, list[str]]


class Victim(Browser):
    """Ada: a running sync, a verification under way with its credentials sealed, and words to know her by."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app)
        self.word = f"adas{uuid4().hex}"
        self.seeded()
        for name in ("websearch", "confluence", "jira"):
            self.put(f"{PATH}/{name}", {"name": self.word, "config": {"note": self.word}})
        name = {"headers": {"Idempotency-Key": self.word}}
        sync = self.post(f"{PATH}/{self.connection('websearch')['id']}/sync", **name)
        verify = self.post(f"{PATH}/{self.connection()['id']}/verify", {"credentials": {"api_token": "x"}})
        self.operations = [sync.json["data"]["operation_id"], verify.json["operation_id"]]
        self.connections = [self.connection(name)["id"] for name in ("websearch", "confluence", "jira")]
        self.ids = [str(self.organization_id), str(self.user_id), *self.operations, *self.connections]

    def named_in(self, text: str) -> list[str]:
        """Return what of hers a text tells."""
        return [word for word in (self.word, *self.ids) if word in text]


@pytest.fixture
def ada(web: Flask) -> Victim:
    return Victim(web)


@pytest.fixture
def eve(web: Flask, ada: Victim) -> Browser:
    """Somebody of another organization, as powerful there as one can be."""
    assert ada
    eve = Browser(web, role="owner")
    eve.seeded()
    return eve


@pytest.fixture
def snapshot(ada: Victim, superuser: str, redis: Redis) -> Callable[[], Snapshot]:
    """Take a picture of everything that is Ada's: her rows, her events, her sealed credentials."""

    def take() -> Snapshot:
        kept = of_database(superuser)
        del kept["pg_stat_activity"]
        tables = {table: [row for row in found if ada.named_in(row)] for table, found in kept.items()}
        # Her own rate limits' accounts pass by themselves.
        keys = {key: value for key, value in of_redis(redis).items() if not key.startswith(PREFIX)}
        return tables | {"redis": [f"{key}={keys[key]}" for key in sorted(keys) if ada.named_in(key)]}

    return take


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
            "channel": events.channel_of(ada.organization_id),
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


@pytest.fixture
def stranger(live: Web, eve: Browser) -> Person:
    """Eve again, with a browser that can hold a stream open."""
    return live.person(organization_id=eve.organization_id, role="owner")


def test_no_event_id_of_another_organization_brings_its_events(ada: Victim, stranger: Person, redis: Redis) -> None:
    channel = events.channel_of(ada.organization_id)
    entries: list[Any] = redis.xrange(f"{channel}:events")
    ids = [entry_id.decode() for entry_id, _ in entries]
    assert len(ids) >= 5

    for last_seen in ("0-0", ids[0], ids[-2], ids[-1]):
        for options in ({"after": last_seen}, {"ticket": stranger.ticket(), "query": {"last_event_id": last_seen}}):
            with stranger.stream(**options) as seen:
                first = eventually(lambda seen=seen: seen.events)[0]
            assert first.type == "data_source_snapshot"
            assert not ada.named_in(json.dumps([event.data for event in seen.events]))


def test_no_ticket_and_no_parameter_opens_another_organizations_stream(
    live: Web, ada: Victim, stranger: Person
) -> None:
    hers = str(ada.organization_id)
    chosen = {"organization_id": hers, "tenant_id": hers, "channel": events.channel_of(ada.organization_id)}
    ticket = stranger.call("POST", "/api/sse/tickets?" + "&".join(f"{k}={v}" for k, v in chosen.items()), chosen)[
        "ticket"
    ]

    with stranger.stream(ticket=ticket, query=chosen) as seen:
        eventually(lambda: seen.events)
        live.publish(ada.organization_id, 1, word=ada.word)
        live.publish(stranger.organization_id, 2)
        seen.wait_for(lambda data: data.get("number") == 2)

    assert not ada.named_in(json.dumps([event.data for event in seen.events]))


@pytest.mark.parametrize("ticket", ["rita:sse-ticket:x", "*", "a:b", "x" * 5_000, "\x00", "../" + "0" * 64])
def test_no_made_up_ticket_opens_anything(web: Flask, ada: Victim, ticket: str) -> None:
    ada.post("/api/sse/tickets")

    answer = web.test_client().get("/api/sse", query_string={"ticket": ticket})

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_ticket")


def forgeries(ada: Victim, eve: Browser) -> list[tuple[dict[str, Any], str]]:
    """Return messages of Eve's tenant that reach for what is Ada's, each with the reason for its refusal."""
    websearch = {"id": ada.connections[0], "organization_id": str(eve.organization_id)}
    confluence = {"id": ada.connections[1], "organization_id": str(eve.organization_id)}
    own = eve.connection("websearch")
    return [
        *((a_sync_message(websearch, f"sync_{end}"), "tenant_mismatch") for end in ("started", "completed", "failed")),
        (a_sync_message(websearch, operation_id=ada.operations[0]), "tenant_mismatch"),
        (a_verification_message(confluence, options={"spaces": "STOLEN"}), "tenant_mismatch"),
        (a_verification_message(confluence, "failed", operation_id=ada.operations[1]), "tenant_mismatch"),
        (a_sync_message(own, operation_id=ada.operations[0]), "unknown_operation"),
        (a_verification_message(own, operation_id=ada.operations[1]), "unknown_operation"),
    ]


@pytest.fixture
def queue(settings: Settings) -> Iterator[str]:
    """A queue that dead letters come from and go back to, of this test's own."""
    name = f"security.{uuid4().hex[:8]}"
    with connected(settings.rabbitmq_url) as connection:
        declare(connection.default_channel, [name])
    yield name
    with connected(settings.rabbitmq_url) as connection:
        connection.default_channel.queue_delete(name)


def replayed(settings: Settings, queue: str) -> list[str]:
    """Replay the dead letters as an operator does, and take what comes back on their queue."""
    with connected(settings.rabbitmq_url) as connection:
        DeadLetterQueue(connection).replay(limit=100, default_queue="nowhere")
        bound, bodies = plain_queue(queue).bind(connection.default_channel), []
        while (message := bound.get(no_ack=True, accept=None)) is not None:
            bodies.append(DeadLetter.from_message(message).body.decode())
    return bodies


def test_no_message_reaches_across_however_often_it_is_replayed(
    app: Flask,
    apply: Callable[..., list[DeadLetter]],
    ada: Victim,
    eve: Browser,
    snapshot: Callable[[], Snapshot],
    settings: Settings,
    queue: str,
) -> None:
    assert app
    before = snapshot()
    forged = forgeries(ada, eve)
    expected = sorted(reason for _, reason in forged)

    # In one batch with a message of Ada's own service, whose tenant is then in the batch's scope.
    honest = a_sync_message(ada.connection("websearch"), "sync_started", operation_id=str(uuid4()))
    letters = apply(*[message for message, _ in forged], honest, queue=queue)

    assert sorted(letter.reason for letter in letters) == sorted([*expected, "unknown_operation"])
    assert snapshot() == before
    bodies = replayed(settings, queue)
    assert len(bodies) == len(forged) + 1
    for body in bodies:
        apply(body, queue=queue)
    assert snapshot() == before


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
    assert any("rita:sealed:" in text for text in before["redis"])
    assert holding(ada.word, dict(of_database(superuser)))
