"""Another organization's events, tickets and messages: what reaches across without a request for a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.config import Settings
from app.outbound import events
from app.outbound.broker import declare_durable_queue, open_confirmed_connection, undeclared_queue
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from tests.e2e.browser import Person
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.sse.conftest import Web
from tests.security.victims import Snapshot, Victim
from tests.waiting import eventually


@pytest.fixture
def stranger(live: Web, eve: Browser) -> Person:
    """Eve again, with a browser that can hold a stream open."""
    return live.person(organization_id=eve.organization_id, role="owner")


def test_no_event_id_of_another_organization_brings_its_events(ada: Victim, stranger: Person, redis: Redis) -> None:
    channel = events.channel_of_organization(ada.organization_id)
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
    chosen = {
        "organization_id": hers,
        "tenant_id": hers,
        "channel": events.channel_of_organization(ada.organization_id),
    }
    ticket = stranger.call("POST", "/api/sse/tickets?" + "&".join(f"{k}={v}" for k, v in chosen.items()), chosen)[
        "ticket"
    ]

    with stranger.stream(ticket=ticket, query=chosen) as seen:
        eventually(lambda: seen.events)
        live.publish(ada.organization_id, 1, word=ada.word)
        live.publish(stranger.organization_id, 2)
        seen.wait_for(lambda data: data.get("number") == 2)

    assert not ada.named_in(json.dumps([event.data for event in seen.events]))


@pytest.mark.parametrize("ticket", ["rita:stream-ticket:x", "*", "a:b", "x" * 5_000, "\x00", "../" + "0" * 64])
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
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        declare_durable_queue(connection.default_channel, name)
    yield name
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        connection.default_channel.queue_delete(name)


def replayed(settings: Settings, queue: str) -> list[str]:
    """Replay the dead letters as an operator does, and take what comes back on their queue."""
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        DeadLetterQueue(connection).replay(limit=100, default_queue="nowhere")
        bound, bodies = undeclared_queue(queue).bind(connection.default_channel), []
        while (message := bound.get(no_ack=True, accept=None)) is not None:
            bodies.append(DeadLetter.from_queue(message).body.decode())
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
