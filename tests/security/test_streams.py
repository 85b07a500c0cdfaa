"""Who opens event streams and does not read them: costs their own organization a little, and others nothing."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import requests
from redis import Redis

from app.domain import source_types
from app.outbound.events import channel_of_organization
from tests.e2e.browser import Person, Stream
from tests.e2e.processes import Processes
from tests.e2e.scrapes import Page
from tests.security.served import MOST_STREAMS
from tests.waiting import eventually

# As large as one may be, and three times as large in an event, which is ASCII.
LARGE = "é" * 125_000


@pytest.fixture
def page(served: Processes) -> Page:
    made = Page(served.environ["PORT"])
    # Those of earlier tests are still leaving.
    eventually(lambda: made("rita_sse_clients") == 0)
    return made


def with_large_settings(served: Processes, **options: Any) -> Person:
    """Return somebody whose snapshot is more than a kernel keeps for one connection: nearly seven megabytes."""
    person = Person(served.base_url, **options)
    person.seeded()
    for name in source_types.OPTIONAL_TYPES:
        person.call("POST", "/api/data-sources", {"type": name, "name": name})
    for row in person.call("GET", "/api/data-sources")["data"]:
        configure(person, row["id"])
    return person


def configure(person: Person, connection_id: str, *, beginning: str = "") -> None:
    """Send a configuration in UTF-8: escaped, it would be too large for a body."""
    body = json.dumps({"config": {"notes": beginning + LARGE}}, ensure_ascii=False).encode()
    headers = person.headers | {"Content-Type": "application/json"}
    answer = requests.patch(
        f"{person.base_url}/api/data-sources/{connection_id}", data=body, headers=headers, timeout=30
    )
    assert answer.ok, answer.text


def unread(person: Person, *, after: str | None = None) -> Stream:
    """Return a stream whose browser reads nothing, with as little room for it as there can be."""
    return person.stream(after=after, reads=False, receive_buffer=4096)


def test_no_organization_has_more_streams_open_than_it_may_and_another_has_its_own(
    served: Processes, page: Page
) -> None:
    ada, eve = Person(served.base_url), Person(served.base_url)
    with ExitStack() as opened:
        streams = [opened.enter_context(ada.stream()) for _ in range(MOST_STREAMS)]

        refused = requests.get(f"{served.base_url}/api/sse", headers=ada.headers, timeout=10)
        of_a_colleague = Person(served.base_url, organization_id=ada.organization_id).ask("GET", "/api/sse")
        assert opened.enter_context(eve.stream()).status == requests.codes.ok

        for answer in (refused, of_a_colleague):
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert answer.json()["retry_after"] == int(answer.headers["Retry-After"]) > 0
        streams[0].close()
        eventually(lambda: page("rita_sse_clients") == MOST_STREAMS)
        with ada.stream() as again:
            assert again.status == requests.codes.ok


def test_a_beginning_that_is_not_read_ends_with_its_token(served: Processes, page: Page) -> None:
    brief = with_large_settings(served, lifetime=timedelta(seconds=6))

    with unread(brief) as asleep:
        assert page("rita_sse_clients") == 1
        eventually(lambda: page("rita_sse_clients") == 0, within=15)
        asleep.read_on()
        assert asleep.ended.wait(30)

    assert asleep.events == [], "the snapshot was never read, and nobody keeps it"
    assert "Socket error processing request" not in served.all_logs()


def test_who_reads_nothing_costs_the_process_what_a_beginning_is_long(served: Processes, page: Page) -> None:
    """However much was written while they were away: an organization's own members fill what others replay."""
    ada = with_large_settings(served)
    connection = ada.connection("confluence")
    with ada.stream() as seen:
        first = eventually(lambda: seen.events)[0].id
    for number in range(40):
        configure(ada, connection["id"], beginning=str(number))
    with Redis.from_url(served.environ["REDIS_URL"]) as redis:
        assert redis.memory_usage(f"{channel_of_organization(ada.organization_id)}:events") < 100_000

    (process,) = served.children["web"].family()[0].children()
    before = process.memory_info().rss
    with ExitStack() as opened:
        for _ in range(MOST_STREAMS):
            assert opened.enter_context(unread(ada, after=first)).status == requests.codes.ok
        eventually(lambda: page("rita_sse_clients") == MOST_STREAMS)

        assert process.memory_info().rss - before < 100 * 2**20
        assert Person(served.base_url).ask("GET", "/api/data-sources").ok
