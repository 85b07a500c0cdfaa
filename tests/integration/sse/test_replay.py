"""Coming back: what was missed is replayed without gap or repetition, or told at once by a snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from app.outbound import events
from tests.e2e.browser import Stream
from tests.integration.sse.conftest import Web
from tests.waiting import eventually


def numbers(stream: Stream) -> list[int]:
    return [event.data["number"] for event in stream.updates]


def test_a_page_that_comes_back_gets_all_that_it_missed_once_and_in_order(web: Web) -> None:
    ada = web.person()
    with ada.stream() as seen:
        eventually(lambda: seen.events)
        ids = web.publish(ada.organization_id, 1, 2)
        seen.wait_for(lambda data: data.get("number") == 2)
    ids += web.publish(ada.organization_id, *range(3, 50))

    with ada.stream(after=seen.last_id) as again:
        ids += web.publish(ada.organization_id, 50)
        again.wait_for(lambda data: data.get("number") == 50)

    assert numbers(seen) + numbers(again) == list(range(1, 51))
    assert [event.id for event in seen.updates + again.updates] == ids
    assert {event.type for event in again.events} == {"data_source_update"}


def test_an_id_in_the_query_counts_like_the_header_for_who_cannot_send_headers(web: Web) -> None:
    ada = web.person()
    first, *_ = web.publish(ada.organization_id, 1, 2, 3)

    with ada.stream(ticket=ada.ticket(), query={"last_event_id": first}) as again:
        again.wait_for(lambda data: data.get("number") == 3)

    assert numbers(again) == [2, 3]


def test_who_has_missed_nothing_gets_nothing(web: Web) -> None:
    ada = web.person()
    *_, last = web.publish(ada.organization_id, 1, 2)

    with ada.stream(after=last) as again:
        eventually(lambda: "heartbeat" in again.comments)

    assert again.events == []


def test_the_id_of_a_snapshot_leads_on_without_gap(web: Web) -> None:
    ada = web.person()
    web.publish(ada.organization_id, 1)
    with ada.stream() as seen:
        snapshot = eventually(lambda: seen.events)[0]
    web.publish(ada.organization_id, 2, 3)

    with ada.stream(after=snapshot.id) as again:
        again.wait_for(lambda data: data.get("number") == 3)

    assert numbers(again) == [2, 3]


@pytest.mark.parametrize(
    "last_seen",
    ["1-0", "99999999999999-0", "18446744073709551615-18446744073709551615", "99999999999999999999-0", "nonsense", "-"],
)
def test_an_id_that_is_not_kept_is_answered_by_a_snapshot(web: Web, last_seen: str) -> None:
    ada = web.person()
    web.publish(ada.organization_id, 1)

    with ada.stream(after=last_seen) as again:
        first = eventually(lambda: again.events)[0]
        web.publish(ada.organization_id, 2)
        again.wait_for(lambda data: data.get("number") == 2)

    assert first.type == "data_source_snapshot"
    assert numbers(again) == [2]


def test_an_id_of_before_the_oldest_kept_event_is_answered_by_a_snapshot(web: Web) -> None:
    ada = web.person()
    first, *_ = web.publish(ada.organization_id, *range(10))
    web.app.extensions["redis"].xtrim(
        f"{events.channel_of_organization(ada.organization_id)}:events", maxlen=3, approximate=False
    )

    with ada.stream(after=first) as again:
        assert eventually(lambda: again.events)[0].type == "data_source_snapshot"


def test_another_organizations_event_is_never_replayed(web: Web) -> None:
    ada, eve = web.person(), web.person()
    hers, *_ = web.publish(ada.organization_id, 1, 2, 3)

    with eve.stream(after=hers) as seen:
        first = eventually(lambda: seen.events)[0]

    assert first.type == "data_source_snapshot"
    assert seen.updates == []


def test_no_event_is_lost_or_repeated_between_catching_up_and_following(web: Web) -> None:
    ada = web.person()
    first, *_ = web.publish(ada.organization_id, 0)
    streams: list[Stream] = []

    # Somebody joins before each event, with the first one's id.
    for number in range(1, 25):
        streams.append(ada.stream(after=first).open())
        web.publish(ada.organization_id, number)
    for stream in streams:
        stream.wait_for(lambda data: data.get("number") == 24)
        stream.close()

    assert [numbers(stream) for stream in streams] == [list(range(1, 25))] * len(streams)


def kept_bytes(web: Web, person: Any) -> int:
    return int(
        web.app.extensions["redis"].memory_usage(f"{events.channel_of_organization(person.organization_id)}:events")
    )


def test_who_missed_more_than_a_snapshot_says_gets_the_snapshot(web: Web) -> None:
    """The beginning of a stream is bounded in bytes."""
    ada = web.person()
    filler = "x" * (events.MAX_KEPT_EVENT_BYTES - 100)
    first, *_ = web.publish(ada.organization_id, *range(events.MAX_REPLAY_BYTES // len(filler) + 2), filler=filler)

    with ada.stream(after=first) as again:
        started = eventually(lambda: again.events)[0]
        web.publish(ada.organization_id, 1_000)
        again.wait_for(lambda data: data.get("number") == 1_000)

    assert started.type == "data_source_snapshot"
    assert numbers(again) == [1_000]


def test_who_missed_a_little_less_than_that_gets_it_all(web: Web) -> None:
    ada = web.person()
    filler = "x" * (events.MAX_KEPT_EVENT_BYTES - 100)
    count = events.MAX_REPLAY_BYTES // events.MAX_KEPT_EVENT_BYTES
    first, *_ = web.publish(ada.organization_id, *range(count), filler=filler)

    with ada.stream(after=first) as again:
        again.wait_for(lambda data: data.get("number") == count - 1)

    assert numbers(again) == list(range(1, count))


def test_a_large_event_reaches_who_is_there_and_is_not_kept_for_who_is_not(web: Web) -> None:
    """However large the configurations that members write: what waits in Redis for those who come back is bounded."""
    ada = web.person()
    with ada.stream() as seen:
        eventually(lambda: seen.events)
        first, *_ = web.publish(ada.organization_id, 1)
        # One by one: of what a reader has not read, a megabyte is kept.
        for number in range(2, 22):
            web.publish(ada.organization_id, number, filler="x" * 200_000)
            told = seen.wait_for(lambda data, number=number: data.get("number") == number)

    with ada.stream(after=first) as again:
        started = eventually(lambda: again.events)[0]
    with ada.stream(after=told.id) as later:
        eventually(lambda: "heartbeat" in later.comments)

    assert len(told.data["filler"]) == 200_000
    assert started.type == "data_source_snapshot"
    assert later.events == []
    assert kept_bytes(web, ada) < 50_000
