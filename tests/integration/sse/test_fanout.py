"""Many browsers, one subscription: who leaves is forgotten, and a Redis that goes away is survived."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import requests
from redis import Redis

from app.outbound import channel_subscription, event_fanout, events
from devstack.valkey import Valkey
from tests.e2e.browser import Person, Stream
from tests.integration.sse.conftest import Web
from tests.waiting import eventually

BROWSERS = 50


def test_fifty_browsers_share_one_subscription_to_the_channels_of_their_own(private_web: Web, valkey: Valkey) -> None:
    people = [private_web.person() for _ in range(5)]
    with ExitStack() as opened, Redis.from_url(valkey.admin_url) as redis:
        streams = [opened.enter_context(people[number % 5].stream()) for number in range(BROWSERS)]
        eventually(lambda: all(stream.events for stream in streams))

        assert sum(int(client["sub"]) > 0 for client in redis.client_list()) == 1
        assert redis.pubsub_numpat() == 0
        assert len(redis.pubsub_channels()) == len(people) + 1
        private_web.publish(people[0].organization_id, 1)
        eventually(lambda: sum(len(stream.updates) for stream in streams) == BROWSERS // 5)

    assert all(len(stream.updates) == 1 for stream in streams[::5])
    with Redis.from_url(valkey.admin_url) as redis:
        eventually(lambda: redis.pubsub_channels() == [channel_subscription.CONTROL_CHANNEL.encode()])


def test_a_subscription_that_redis_ends_ends_the_streams_and_whoever_comes_back_gets_a_snapshot(
    private_web: Web, valkey: Valkey
) -> None:
    """As Redis does with a subscriber that reads too slowly; redis-py connects again by itself, and tells nobody."""
    ada = private_web.person()
    with ada.stream() as seen, Redis.from_url(valkey.admin_url) as redis:
        private_web.publish(ada.organization_id, 1)
        seen.wait_for(lambda data: data.get("number") == 1)

        redis.client_kill_filter(_type="pubsub")

        assert seen.ended.wait(10), "the page must come back to learn what it missed"
    with eventually(lambda: served(ada, after=seen.last_id), within=20) as again:
        private_web.publish(ada.organization_id, 2)
        again.wait_for(lambda data: data.get("number") == 2)
    assert again.events[0].type == "data_source_snapshot"


def test_who_comes_as_the_last_one_leaves_misses_nothing(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels are left, and asked for again, all the time."""
    monkeypatch.setattr(event_fanout, "MAINTENANCE_INTERVAL_SECONDS", 0.001)
    made: event_fanout.EventFanout = web.app.extensions["event_fanout"]
    ada, seen = web.person(), []
    for number in range(200):
        client = made.add_client(events.channel_of_organization(ada.organization_id))
        made.wait_until_subscribed(client)
        web.publish(ada.organization_id, number)
        seen.append(client.next_event(timeout_seconds=10))
        made.remove_client(client)

    assert [f'{{"number":{number}}}' in told.text for number, told in enumerate(seen) if told] == [True] * 200


def test_a_closed_browser_leaves_the_fan_out_without_waiting_for_an_event(web: Web) -> None:
    # Those of earlier tests are still leaving.
    eventually(lambda: web.clients == 0)
    before = 0
    ada = web.person()
    with ada.stream() as one, ada.stream() as other:
        eventually(lambda: one.events and other.events)
        assert web.clients == before + 2

        one.close()
        eventually(lambda: web.clients == before + 1)

    eventually(lambda: web.clients == before)


def test_a_refused_stream_leaves_nothing_in_the_fan_out(web: Web) -> None:
    before = web.clients

    answer = requests.get(f"{web.base_url}/api/sse", params={"ticket": "never-issued"}, timeout=10)

    assert answer.status_code == requests.codes.unauthorized
    assert web.clients == before


def test_a_restart_of_redis_ends_the_streams_and_whoever_comes_back_gets_a_snapshot(
    private_web: Web, valkey: Valkey
) -> None:
    """An event that could not be published meanwhile is in no stream, so that a replay would have a gap."""
    ada = private_web.person()
    with ada.stream() as seen:
        private_web.publish(ada.organization_id, 1)
        seen.wait_for(lambda data: data.get("number") == 1)
        valkey.stop()
        assert seen.ended.wait(10), "the page must come back to learn what it missed"
    with ada.stream() as refused:
        assert refused.status == requests.codes.service_unavailable

    valkey.start()
    private_web.publish(ada.organization_id, 2)
    with eventually(lambda: served(ada, after=seen.last_id), within=20) as again:
        private_web.publish(ada.organization_id, 3)
        again.wait_for(lambda data: data.get("number") == 3)

    with ada.stream(after=again.last_id) as once_more:
        private_web.publish(ada.organization_id, 4)
        once_more.wait_for(lambda data: data.get("number") == 4)

    assert again.events[0].type == "data_source_snapshot"
    assert [event.data["number"] for event in again.updates] == [3]
    assert [event.data.get("number") for event in once_more.events] == [4]


def served(person: Person, *, after: str) -> Stream | None:
    """Open a stream, or return None if the server cannot serve one yet."""
    stream = person.stream(after=after).open()
    if stream.status == requests.codes.ok:
        return stream
    stream.close()
    return None
