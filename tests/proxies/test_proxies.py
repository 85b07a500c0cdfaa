"""What docs/deploy.md says of each proxy, with its very file; `PROXIES_HEARTBEAT=15` takes production's own times."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from app.outbound.events import _PUBLISH_SCRIPT, channel_of_organization
from devstack.certificates import NAME, Certificate
from devstack.child import LOOPBACK
from tests.e2e.browser import Person, Stream
from tests.e2e.processes import Processes
from tests.e2e.scrapes import Page
from tests.proxies import pages
from tests.proxies.conftest import HEARTBEAT, TIMES
from tests.proxies.fronts import Front, Kind
from tests.proxies.variants import PLAIN
from tests.waiting import eventually

PAGES = 12
EVENTS = 9
# A proxy that holds events back does it with each; a machine that is busy, with some.
AT_ONCE = 0.05
# What a browser asks for.
COMPRESSED = {"Accept-Encoding": "gzip, deflate, br"}
ELSEWHERE = "127.0.0.2"
# Apache, and HAProxy over HTTP/1.1, learn it when they hand heartbeats on; the others at once.
LEFT_WITHIN = 8 + 2 * HEARTBEAT


@pytest.fixture
def streams(rita: Processes, lasting: dict[Kind, Stream]) -> Any:
    """Return what tells how many streams Rita has open besides those that last; none, at first."""
    page = Page(rita.environ["PORT"])

    def opened() -> float:
        return page("rita_sse_clients") - len(lasting)

    eventually(lambda: opened() == 0, within=LEFT_WITHIN)
    return opened


def publish(redis: Redis, person: Person, number: int) -> None:
    arguments = [1000, 3600, "data_source_update", json.dumps({"number": number}), "", ""]
    redis.register_script(_PUBLISH_SCRIPT)(keys=[channel_of_organization(person.organization_id)], args=arguments)


def ask(front: Front, trust: ssl.SSLContext, path: str, **headers: str) -> http.client.HTTPResponse:
    """Ask as somebody from another address than the proxies', and return the answer, of which nothing was read."""
    connection = http.client.HTTPSConnection(NAME, front.port, context=trust, timeout=10, source_address=(ELSEWHERE, 0))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.headers["X-Status"] = str(answer.status)
    answer.close()
    connection.close()
    return answer


def test_an_event_arrives_at_once(ada: Person, trust: ssl.SSLContext, own_redis: Redis, rita: Processes) -> None:
    Person(rita.base_url, organization_id=ada.organization_id).seeded()

    assert min(delays(ada, own_redis, tls=trust)) < AT_ONCE


def test_haproxy_holds_no_event_back_where_tls_has_ended_before_it(
    rita: Processes, certificate: Certificate, own_redis: Redis, tmp_path: Path
) -> None:
    PLAIN.demand()
    upstream = int(rita.environ["PORT"])
    with Front(PLAIN, upstream=upstream, certificate=certificate, directory=tmp_path, times=TIMES) as front:
        ada = Person(f"http://{LOOPBACK}:{front.plain_port}")

        assert min(delays(ada, own_redis)) < AT_ONCE


def delays(ada: Person, redis: Redis, **options: Any) -> list[float]:
    """Return what each of some events takes to a browser, in seconds."""
    ada.headers |= COMPRESSED
    found = []
    with ada.stream(**options) as seen:
        eventually(lambda: seen.events)
        for number in range(EVENTS):
            published_at = time.monotonic()
            publish(redis, ada, number)
            told = seen.wait_for(lambda data, number=number: data.get("number") == number, within=5)
            found.append(told.at - published_at)
    return found


def test_twelve_pages_of_a_browser_have_their_streams_at_once_and_each_that_is_left_is_forgotten(
    ada: Person, certificate: Certificate, own_redis: Redis, streams: Any, tmp_path: Path
) -> None:
    with pages.opened(PAGES, ada, certificate, output=tmp_path / "pages") as browser:
        eventually(lambda: len(browser.told("event")) == PAGES)
        answered = eventually(lambda: [one for one in browser.told("answered") if one["path"] == "/api/data-sources"])
        found = []
        for number in range(EVENTS):
            published_at = time.time()
            publish(own_redis, ada, number)
            seen = eventually(lambda expected=(number + 2) * PAGES: browser.events(expected))
            found.append(max(one["at"] for one in seen) - published_at)

        assert browser.told("connected")[0]["protocol"] == "h2"
        assert answered[0]["status"] == requests.codes.ok
        assert {one["page"] for one in browser.told("event")[-PAGES:]} == set(range(PAGES))
        assert min(found) < AT_ONCE
        assert streams() == PAGES
        browser.leave(3)
        eventually(lambda: streams() == PAGES - 1, within=LEFT_WITHIN)
        assert [one["page"] for one in browser.told("ended")] == [3]

    eventually(lambda: streams() == 0, within=LEFT_WITHIN)


def test_a_page_over_http_1_that_is_left_is_forgotten(ada: Person, trust: ssl.SSLContext, streams: Any) -> None:
    with ada.stream(tls=trust) as seen:
        eventually(lambda: seen.events)
        assert streams() == 1

    eventually(lambda: streams() == 0, within=LEFT_WITHIN)


def test_no_ticket_is_in_the_access_log_and_ritas_own_names_the_client(
    front: Front, trust: ssl.SSLContext, rita: Processes
) -> None:
    path = f"/api/sse?ticket=of-{front.port}"

    ask(front, trust, path, **{"X-Forwarded-For": "203.0.113.9", "X-Request-ID": f"request-{front.port}"})

    eventually(lambda: "/api/sse" in front.logged())
    assert f"of-{front.port}" not in front.logged()
    (line,) = eventually(lambda: [one for one in rita.log("web").splitlines() if f'"request-{front.port}"' in one])
    assert json.loads(line)["client"] == ELSEWHERE


def test_browsers_are_told_to_use_tls_alone(front: Front, trust: ssl.SSLContext) -> None:
    answer = ask(front, trust, "/healthz")
    plain = requests.get(
        f"http://{LOOPBACK}:{front.plain_port}/", headers={"Host": NAME}, allow_redirects=False, timeout=10
    )

    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert plain.status_code in (requests.codes.moved, requests.codes.permanent_redirect)
    assert plain.headers["Location"].startswith(f"https://{NAME}")


def test_a_stream_lives_on_heartbeats_though_nothing_happens(front: Front, lasting: dict[Kind, Stream]) -> None:
    stream = lasting[front.kind]

    eventually(
        lambda: time.monotonic() - stream.opened_at > TIMES.idle + 2 * HEARTBEAT, within=TIMES.idle + 3 * HEARTBEAT
    )

    assert not stream.ended.is_set()
    assert stream.comments.count("heartbeat") >= 3


def test_a_reload_serves_new_pages_at_once_and_ends_old_streams_where_it_is_said_to(
    front: Front, ada: Person, trust: ssl.SSLContext, lasting: dict[Kind, Stream]
) -> None:
    old = lasting[front.kind]

    front.reload()

    assert not front.kind.reload_ends_streams or old.ended.wait(15)
    with ada.stream(tls=trust) as new:
        eventually(lambda: new.events)
