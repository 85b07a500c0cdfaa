"""Opening the event stream: who may, what comes first, and when it ends."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import requests

from app.outbound import events
from tests.factories import as_owner
from tests.integration.sse.conftest import TICKET_LIFETIME, Web
from tests.waiting import eventually


@pytest.mark.alone
def test_a_bearer_token_opens_the_stream_and_the_first_bytes_come_before_any_event(web: Web) -> None:
    with web.person().stream() as seen:
        eventually(lambda: seen.retry)
        waited = time.monotonic() - seen.opened_at

    assert waited < 1
    assert seen.retry == 3000
    assert seen.response.headers["Content-Type"].startswith("text/event-stream")
    assert seen.response.headers["Cache-Control"] == "no-store, no-transform"
    assert seen.response.headers["X-Accel-Buffering"] == "no"


def test_the_first_event_is_a_snapshot_of_every_connection_of_the_organization(web: Web) -> None:
    ada, eve = web.person(), web.person()
    ada.seeded()
    eve.seeded()

    with ada.stream() as seen:
        first = eventually(lambda: seen.events)[0]

    assert first.type == "data_source_snapshot"
    assert first.data["data"] == ada.call("GET", "/api/data-sources")["data"]
    assert len(first.data["data"]) == 4
    assert {connection["organization_id"] for connection in first.data["data"]} == {str(ada.organization_id)}


def test_a_connection_of_a_type_that_this_release_does_not_know_is_in_the_snapshot_and_costs_no_event(
    web: Web,
) -> None:
    ada = web.person()
    later = ada.seeded("sharepoint")["id"]
    as_owner(web.app, f"UPDATE data_source_connections SET type = 'of_a_later_release' WHERE id = '{later}'")  # noqa: S608

    with ada.stream() as seen:
        first = eventually(lambda: seen.events)[0]
        ada.call("PATCH", f"/api/data-sources/{later}", {"name": "Later"})
        ada.call("PATCH", f"/api/data-sources/{ada.connection()['id']}", {"name": "Wiki"})
        seen.wait_for(lambda data: data.get("name") == "Wiki")

    shown = {connection["id"]: connection["type"] for connection in first.data["data"]}
    assert (len(shown), shown[later]) == (4, "of_a_later_release")
    assert [event.data["name"] for event in seen.events[1:]] == ["Later", "Wiki"]


def test_a_ticket_opens_the_stream_of_its_owner_once_and_never_again(web: Web) -> None:
    ada = web.person()
    ticket = ada.ticket()

    with ada.stream(ticket=ticket) as first, ada.stream(ticket=ticket) as second:
        eventually(lambda: first.events)
        web.publish(ada.organization_id, 1)
        first.wait_for(lambda data: data.get("number") == 1)

    assert first.status == requests.codes.ok
    assert second.status == requests.codes.unauthorized


def test_a_ticket_that_is_too_old_opens_nothing(web: Web) -> None:
    ada = web.person()
    ticket, issued_at = ada.ticket(), time.monotonic()
    eventually(lambda: time.monotonic() - issued_at > TICKET_LIFETIME.total_seconds() + 0.05)

    with ada.stream(ticket=ticket) as seen:
        assert seen.status == requests.codes.unauthorized


@pytest.mark.parametrize("ticket", ["", "never-issued", "../x", "☃"])
def test_a_ticket_that_was_never_issued_opens_nothing(web: Web, ticket: str) -> None:
    answer = requests.get(f"{web.base_url}/api/sse", params={"ticket": ticket}, timeout=10)

    assert answer.status_code == requests.codes.unauthorized
    assert answer.json()["code"]


def test_without_token_and_ticket_there_is_no_stream_and_no_ticket(web: Web) -> None:
    assert requests.get(f"{web.base_url}/api/sse", timeout=10).status_code == requests.codes.unauthorized
    assert requests.post(f"{web.base_url}/api/sse/tickets", timeout=10).status_code == requests.codes.unauthorized


def test_a_ticket_outlives_neither_its_owners_token_nor_the_stream_it_opened(web: Web) -> None:
    brief = web.person(lifetime=timedelta(seconds=2))
    ticket = brief.ticket()

    with brief.stream(ticket=ticket) as seen:
        assert seen.ended.wait(5)

    assert seen.status == requests.codes.ok
    assert seen.comments[-1] == "the token has expired"


def test_a_heartbeat_comes_while_nothing_happens(web: Web) -> None:
    with web.person().stream() as seen:
        eventually(lambda: seen.comments.count("heartbeat") >= 3, within=5)


def test_whatever_the_request_says_of_channels_the_stream_is_the_organizations_own(web: Web) -> None:
    ada, eve = web.person(), web.person()
    hers = events.channel_of_organization(ada.organization_id)
    query = {"channel": hers, "organization_id": str(ada.organization_id), "tenant_id": str(ada.organization_id)}

    with eve.stream(query=query) as seen, ada.stream() as seen_by_ada:
        eventually(lambda: seen.events and seen_by_ada.events)
        web.publish(ada.organization_id, 1)
        web.publish(eve.organization_id, 2)
        seen.wait_for(lambda data: data.get("number") == 2)
        seen_by_ada.wait_for(lambda data: data.get("number") == 1)

    assert [event.data["number"] for event in seen.updates] == [2]
    assert [event.data["number"] for event in seen_by_ada.updates] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines",
        "carriage\r\nreturn\r",
        "\u2028 and \u2029 and \x85",
        "event: x\n\ndata: forged\nid: 9-9",
        "☃ 😀 \x0b\x0c\x1c",
    ],
    ids=["newline", "carriage return", "unicode line breaks", "a forged event", "others"],
)
def test_a_text_arrives_as_it_was_written(web: Web, text: str) -> None:
    ada = web.person()

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        web.publish(ada.organization_id, 1, text=text)
        web.publish(ada.organization_id, 2)
        arrived = seen.wait_for(lambda data: data.get("number") == 1)
        seen.wait_for(lambda data: data.get("number") == 2)

    assert arrived.data["text"] == text
    assert [event.data["number"] for event in seen.updates] == [1, 2]


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\xff", b"[]", b"{}", b'{"data": "no id", "type": "data_source_update"}', b'{"data": 7, "id": "x"}'],
)
def test_an_unreadable_event_on_the_channel_ends_no_stream(web: Web, rubbish: bytes) -> None:
    ada = web.person()

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        web.app.extensions["redis"].publish(events.channel_of_organization(ada.organization_id), rubbish)
        web.publish(ada.organization_id, 1)
        seen.wait_for(lambda data: isinstance(data, dict) and data.get("number") == 1, within=5)

    assert seen.status == requests.codes.ok


def test_an_unreadable_channel_ends_no_stream(web: Web) -> None:
    ada = web.person()

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        web.app.extensions["redis"].publish(events.CHANNEL_PREFIX.encode() + b"\xff", b"{}")
        web.publish(ada.organization_id, 1)
        seen.wait_for(lambda data: data.get("number") == 1, within=5)

    assert seen.status == requests.codes.ok


def test_an_organization_without_connections_gets_an_empty_snapshot(web: Web) -> None:
    with web.person().stream() as seen:
        first = eventually(lambda: seen.events)[0]

    assert first.data["data"] == []
