"""The figures of several processes: whichever is asked tells of all, and a process that dies takes none with it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
import requests

from devstack.ports import free_port
from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.e2e.scrapes import AUTHORIZED, Page
from tests.e2e.service import Service
from tests.factories import a_sync_message
from tests.project import PROJECT
from tests.receiver import Receiver, answer
from tests.waiting import eventually

MONITORING = PROJECT / "docker/monitoring"
# Fresh connections, of which a kernel gives each process some.
ASKED = 12


@pytest.fixture
def status_page(rita: Processes) -> Page:
    return Page(rita.environ["WORKER_METRICS_PORT"])


@pytest.fixture
def webhook_page(rita: Processes) -> Page:
    return Page(rita.environ["WEBHOOK_WORKER_METRICS_PORT"])


@pytest.fixture(scope="module")
def pair(rita: Processes) -> Iterator[Page]:
    """The page of a web server of two processes."""
    port = str(free_port())
    rita.start("web", as_name="pair", PORT=port, WEB_PROCESSES="2")
    yield Page(port)
    rita.stop("pair")


def children(rita: Processes, name: str) -> list[Any]:
    found: list[Any] = rita.children[name].family()[0].children()
    return found


def serves(child: Any, port: int) -> bool:
    """Tell whether somebody is connected to a process."""
    return any(c.laddr.port == port and c.status == "ESTABLISHED" for c in child.net_connections("tcp"))


def test_webhook_attempts_are_counted_by_what_came_of_them(ada: Person, external: Receiver, webhook_page: Page) -> None:
    done = webhook_page.since("rita_webhook_attempts_total", kind="verify", outcome="done", answer="2xx")
    again = webhook_page.since("rita_webhook_attempts_total", kind="verify", outcome="retry", answer="5xx")
    final = webhook_page.since("rita_webhook_attempts_total", kind="verify", outcome="final", answer="4xx")
    syncs = webhook_page.since("rita_webhook_attempts_total", kind="sync")
    timed = webhook_page.since("rita_webhook_attempt_seconds_count", kind="verify")
    external.script += [answer(503), answer(503), answer(200), answer(401)]

    ada.verify(ada.seeded("confluence"))
    eventually(lambda: done() == 1)
    ada.verify(ada.seeded("servicenow"))
    eventually(lambda: final() == 1)

    assert again() == 2
    assert timed() == 4
    assert syncs() == 0
    assert webhook_page("rita_webhook_attempt_seconds_sum", kind="verify") > 0
    assert webhook_page("rita_database_pool_size") == 12
    webhook_page.becomes(0, "rita_database_pool_in_use")


def test_status_messages_add_up_over_children_of_which_one_is_killed(
    rita: Processes, ada: Person, service: Service, status_page: Page
) -> None:
    connection = ada.seeded()
    messages = [a_sync_message(connection, "sync_started", documents_processed=n) for n in range(300)]
    ended = a_sync_message(connection, "sync_completed")
    unknown = a_sync_message({"id": str(uuid4()), "organization_id": connection["organization_id"]}, "sync_started")
    counted = {
        name: status_page.since("rita_status_messages_total", outcome=name) for name in ("applied", "late", "refused")
    }
    not_json = status_page.since("rita_dead_letters_total", reason="not_json")
    not_known = status_page.since("rita_dead_letters_total", reason="unknown_connection")
    batched = status_page.since("rita_status_batch_messages_sum")
    batches = status_page.since("rita_status_batch_seconds_count")

    service.send(*messages[:150])
    eventually(lambda: sum(count() for count in counted.values()) == 150, within=30)
    first, *others = children(rita, "worker")
    first.kill()
    eventually(lambda: len(children(rita, "worker")) == 1 + len(others) and first not in children(rita, "worker"))
    service.send(*messages[150:], ended, ended, unknown)
    service.send_raw("no JSON at all", "nor this")

    eventually(lambda: sum(count() for count in counted.values()) == 305, within=30)
    assert counted["applied"]() + counted["late"]() == 302
    assert counted["late"]() >= 1
    assert counted["refused"]() == not_json() + not_known() == 3
    eventually(lambda: batched() == 305)
    assert 0 < batches() <= 305


def test_every_process_of_the_web_tells_of_all_browsers_and_of_those_alone_that_are_there(
    rita: Processes, pair: Page
) -> None:
    replayed = pair.since("rita_sse_streams_total", start="replay")
    began = pair.since("rita_sse_streams_total", start="snapshot")
    people = [Person(pair.url.removesuffix("/metrics")) for _ in range(4)]
    for person in people:
        # Without any event there is none to go on from.
        person.call("PUT", "/api/data-sources/websearch", {"name": "Web"})

    with ExitStack() as opened:
        streams = [opened.enter_context(person.stream()) for person in people * 3]
        while not all(serves(child, pair.port) for child in children(rita, "pair")):
            # Which process takes one is the kernel's choice.
            assert len(streams) < 60, "one process takes all"
            streams += [opened.enter_context(person.stream()) for person in people]
        eventually(lambda: all(stream.events for stream in streams))
        assert {pair("rita_sse_clients") for _ in range(ASKED)} == {len(streams)}
        assert began() == len(streams)
        first, second = children(rita, "pair")

        first.kill()
        eventually(lambda: any(stream.ended.is_set() for stream in streams))
        eventually(lambda: len(children(rita, "pair")) == 2 and second in children(rita, "pair"))
        left = sum(not stream.ended.is_set() for stream in streams)

        assert 0 < left < len(streams), "each process had some"
        eventually(lambda: {pair("rita_sse_clients") for _ in range(ASKED)} == {left})
        assert began() == len(streams)
        survivor = next(stream for stream in streams if not stream.ended.is_set())
        with people[streams.index(survivor) % 4].stream(after=survivor.last_id):
            eventually(lambda: replayed() == 1)
    pair.becomes(0, "rita_sse_clients")


def test_the_database_pools_of_a_groups_processes_are_added_up(pair: Page, rita: Processes) -> None:
    before = children(rita, "pair")
    assert len(before) == 2

    for _ in range(ASKED):
        requests.get(pair.url.replace("/metrics", "/readyz"), timeout=10)

    pair.becomes(24, "rita_database_pool_size")
    # The one that looks is at no other work.
    assert 0 <= pair("rita_database_pool_in_use") <= 1


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/metrics", {}, 401, "unauthorized"),
        ("/metrics", {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
        ("/api/data-sources", AUTHORIZED, 404, "not_found"),
    ],
)
def test_a_workers_page_shows_nothing_else_and_to_nobody_else(
    status_page: Page, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    told = requests.get(status_page.url.replace("/metrics", path), headers=headers, timeout=10)

    assert (told.status_code, told.json()["code"]) == (status, code)
    assert set(told.json()) == {"error", "message", "code", "request_id"}


def test_a_worker_whose_port_is_taken_works_without_a_page_and_one_that_ends_leaves_nothing(
    rita: Processes, status_page: Page, tmp_path: Path
) -> None:
    rita.start("worker", as_name="late_worker", TMPDIR=str(tmp_path))
    assert "metrics_not_served" in rita.log("late_worker")
    assert status_page("rita_status_batches_held_total") == 0
    kept = list(tmp_path.glob("rita-figures-*"))

    rita.stop("late_worker")

    assert len(kept) == 1
    assert list(tmp_path.glob("rita-figures-*")) == []


def test_a_page_tells_of_no_organization_and_no_address(
    rita: Processes, ada: Person, status_page: Page, webhook_page: Page, pair: Page
) -> None:
    ada.verify(ada.seeded("sharepoint"))

    told = status_page.text() + webhook_page.text() + pair.text()

    secrets = (rita.environ["AUTOMATION_AUTH"], rita.environ["SEAL_KEYS"], rita.environ["JWT_SECRET"])
    assert "rita_webhook_attempts_total" in told
    assert [word for word in (str(ada.organization_id), "http", "127.0.0.1", "ada@", *secrets) if word in told] == []


def asked_for(file: str) -> set[str]:
    """Return the figures that a file of docker/monitoring names, alone and with each label that it compares with =."""
    text = (MONITORING / file).read_text().replace('\\"', '"')
    found = re.findall(r"\b(rita_\w+)(?:\{([^}]*)\})?", text)
    compared = {(name, pair) for name, labels in found for pair in re.findall(r'(\w+="[^"]*")', labels)}
    # Prometheus itself adds the job.
    return {name for name, _ in found} | {f"{name}{{{pair}}}" for name, pair in compared if not pair.startswith("job=")}


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_every_figure_that_is_watched_is_shown_by_a_page(
    ada: Person, status_page: Page, webhook_page: Page, pair: Page, file: str
) -> None:
    # One operation at least is open, or its gauge has no sample.
    ada.verify(ada.seeded("servicenow"))

    shown = status_page.samples() | webhook_page.samples() | pair.samples()

    assert asked_for(file) - shown == set()


def test_every_figure_that_is_shown_is_on_the_dashboard(status_page: Page, webhook_page: Page, pair: Page) -> None:
    shown = {name for page in (status_page, webhook_page, pair) for name in page.samples() if "{" not in name}

    on_it = asked_for("dashboard.json")
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in on_it}
    assert {name for name in shown - on_it if re.sub("_(bucket|sum|count)$", "", name) not in families} == set()


def test_a_missing_figure_is_told_of_the_process_that_would_show_it(
    status_page: Page, webhook_page: Page, pair: Page
) -> None:
    pages = {"rita-web": pair, "rita-worker": status_page, "rita-webhook-worker": webhook_page}
    text = (MONITORING / "alerts.yml").read_text()

    missed = set(re.findall(r'absent\((rita_\w+)\{job="([\w-]+)"\}\)', text))

    assert {job for _, job in missed} == set(pages)
    assert [(name, job) for name, job in sorted(missed) if name not in pages[job].samples()] == []


@pytest.mark.parametrize("drips", [False, True])
def test_an_asker_who_says_little_keeps_the_next_waiting_for_seconds_only(status_page: Page, *, drips: bool) -> None:
    enough = Event()

    def say(opened: socket.socket) -> None:
        with suppress(OSError):
            opened.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            while not enough.wait(0.1):
                opened.sendall(b"x")

    with ThreadPoolExecutor(1) as pool, socket.create_connection(("127.0.0.1", status_page.port), timeout=5) as opened:
        if drips:
            pool.submit(say, opened)
        try:
            # Prometheus gives up after ten seconds, and so does this.
            assert "rita_status_messages_total" in status_page.text()
        finally:
            enough.set()
