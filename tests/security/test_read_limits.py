"""Who asks for answers and does not read them, or asks on and on: costs their own organization, and others little."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from flask import Flask

from app.api import read_limits
from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.factories import Browser
from tests.project import do_without
from tests.security.rules import calls, needs_sign_in
from tests.security.test_streams import with_large_settings
from tests.waiting import eventually

PATH = "/api/data-sources"
LISTED = Path("/proc/net/tcp")
# Of a connection whose answer is not read, in bytes.
KEPT = 128 * 1024


@contextmanager
def unread(base_url: str, path: str, *, headers: Mapping[str, str]) -> Iterator[int]:
    """Ask, with as little room for the answer as there can be, and read nothing; yield the own port."""
    parts = urlsplit(base_url)
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect((parts.hostname, parts.port))
        lines = [f"GET {path} HTTP/1.1", "Host: rita", *(f"{name}: {value}" for name, value in headers.items())]
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        yield opened.getsockname()[1]


def unsent(*ports: int) -> list[int]:
    """Return how many bytes the kernel keeps for the connections from these ports, of those that it keeps any for."""
    if not LISTED.exists():
        do_without("Linux alone lists what its connections keep")
    rows = [line.split() for line in LISTED.read_text().splitlines()[1:]]
    kept = {
        int(remote.partition(":")[2], 16): int(queues.partition(":")[0], 16) for _, _, remote, _, queues, *_ in rows
    }
    return [kept[port] for port in ports if kept.get(port)]


def test_of_an_answer_that_nobody_reads_the_kernel_keeps_little(served: Processes) -> None:
    """A file of the API's page, which needs no token, is a megabyte and a half."""
    with unread(served.base_url, "/swagger-ui/swagger-ui-bundle.js", headers={}) as port:
        eventually(lambda: sum(unsent(port)) > KEPT // 2)
        assert Person(served.base_url).ask("GET", "/api/me").ok

        assert sum(unsent(port)) < 2 * KEPT


def test_of_an_organization_few_large_answers_wait_for_their_readers(served: Processes) -> None:
    ada, eve = with_large_settings(served), Person(served.base_url)

    with ExitStack() as opened:
        asked = [
            unread(served.base_url, PATH, headers=ada.headers) for _ in range(3 * read_limits.MAX_CONCURRENT_READS)
        ]
        ports = [opened.enter_context(each) for each in asked]
        eventually(lambda: len(unsent(*ports)) == read_limits.MAX_CONCURRENT_READS)
        assert eve.ask("GET", PATH).ok

        assert len(unsent(*ports)) == read_limits.MAX_CONCURRENT_READS
    assert eventually(lambda: ada.ask("GET", PATH).ok)


@pytest.fixture
def crowded(web: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As much is being answered to the owner's organization as may be at a time."""
    monkeypatch.setattr(read_limits, "MAX_WAIT_SECONDS", 0.05)
    gates = web.extensions["read_limits"]
    with ExitStack() as places:
        for _ in range(read_limits.MAX_CONCURRENT_READS):
            places.enter_context(gates.acquire(str(owner.organization_id), timeout_seconds=1))
        yield


READS = [
    PATH, PATH + "/{id}", PATH + "/{id}/operations", PATH + "/{id}/audit", "/api/operations/{id}", "/api/overview",
    "/api/sse",
]  # fmt: skip
# What is answered without a look at the database.
UNREAD = ["/api/me", "/api/data-source-types"]


def test_whatever_reads_the_database_waits_for_its_turn(web: Flask) -> None:
    asked = {call.path("{id}") for call in calls(web) if call.method == "GET" and needs_sign_in(call)}

    assert {unquote(path) for path in asked} == {*READS, *UNREAD}


@pytest.mark.parametrize("path", READS)
@pytest.mark.usefixtures("crowded")
def test_whoever_waits_too_long_is_told_when_to_come_back_and_others_do_not_wait(
    owner: Browser, eve: Browser, path: str
) -> None:
    refused = owner.get(path.format(id=owner.user_id))
    with eve.get(path.format(id=owner.user_id)) as of_another:
        status = of_another.status_code

    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == str(read_limits.RETRY_AFTER_SECONDS)
    assert status != 429


# What changes something, with a body that is taken.
CHANGES = [
    ("post", "/api/data-sources/seed", None),
    ("post", PATH, {"type": "jira"}),
    ("put", PATH + "/websearch", {}),
    ("put", PATH + "/{id}", {}),
    ("patch", PATH + "/{id}", {"name": "x"}),
    ("delete", PATH + "/{id}", None),
    ("post", PATH + "/{id}/verify", {"credentials": {"api_token": "x"}}),
    ("post", PATH + "/{id}/sync", None),
    ("post", "/api/operations/{id}/end", None),
]


def test_whatever_changes_the_database_waits_for_its_turn(web: Flask) -> None:
    asked = {call.method for call in calls(web) if needs_sign_in(call)}
    paths = {(call.method, unquote(call.path("{id}"))) for call in calls(web) if needs_sign_in(call)}

    assert asked <= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    changing = {pair for pair in paths if pair[0] != "GET"} - {("POST", "/api/sse/tickets")}
    assert changing == {(method.upper(), path) for method, path, _ in CHANGES} - {("PUT", PATH + "/websearch")}


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_of_an_organization_few_changes_run_at_a_time(
    web: Flask, owner: Browser, eve: Browser, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: object
) -> None:
    """Those of one data source wait for each other, each with a connection to the database."""
    monkeypatch.setattr(read_limits, "MAX_WAIT_SECONDS", 0.05)
    limits = web.extensions["change_limits"]
    arguments = [path.format(id=owner.connection("confluence")["id"]), *([] if body is None else [body])]

    with ExitStack() as places:
        for _ in range(read_limits.MAX_CONCURRENT_CHANGES):
            places.enter_context(limits.acquire(str(owner.organization_id), timeout_seconds=1))
        refused = getattr(owner, method)(*arguments)
        of_another = getattr(eve, method)(*arguments)

    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == str(read_limits.RETRY_AFTER_SECONDS)
    assert of_another.status_code != 429


def test_a_large_answer_counts_until_it_was_read(owner: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_limits, "MAX_WAIT_SECONDS", 0.05)
    small = [owner.get(PATH).status_code for _ in range(2 * read_limits.MAX_CONCURRENT_READS)]
    monkeypatch.setattr(read_limits, "LARGE_RESPONSE_BYTES", 100)

    answers = [owner.get(PATH) for _ in range(read_limits.MAX_CONCURRENT_READS + 1)]
    answers[0].close()
    again = owner.get(PATH).status_code

    assert set(small) == {200}
    assert [answer.status_code for answer in answers] == [200] * read_limits.MAX_CONCURRENT_READS + [429]
    assert again == 200
