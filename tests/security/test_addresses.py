"""Addresses and names: none of them leads the webhook to another server, or the page out of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.api.console import CONSOLE_DIRECTORY
from tests.factories import Browser
from tests.integration.sse.conftest import Web
from tests.integration.tasks.conftest import Job
from tests.receiver import Receiver, answer
from tests.security.wire import exchange

PATH = "/api/data-sources"
Run = Callable[..., None]


@pytest.fixture
def bait() -> Iterator[Receiver]:
    """Where nothing of ours may ever knock."""
    with Receiver() as started:
        yield started


def full_of(url: str) -> dict[str, Any]:
    """Return a configuration that names an address in every way that might be followed."""
    names = ["url", "baseUrl", "webhook_url", "callback", "callback_url", "endpoint", "host", "proxy", "redirect_uri",
             "AUTOMATION_WEBHOOK_URL", "automation_webhook_url", "target", "jku", "$ref", "Location"]  # fmt: skip
    return dict.fromkeys(names, url) | {"http": {"proxy": url}, "urls": [url]}


@pytest.mark.parametrize(
    "address", ["bait", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "gopher://x"]
)
def test_nothing_that_is_configured_or_sent_changes_where_the_webhook_goes(
    owner: Browser, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, bait: Receiver, address: str
) -> None:
    url = bait.url if address == "bait" else address
    headers = {
        "Host": urlsplit(url).netloc or "evil.example.org",
        "X-Forwarded-Host": "evil.example.org",
        "Referer": url,
    }
    websearch, confluence = (f"{PATH}/{owner.connection(name)['id']}" for name in ("websearch", "confluence"))
    configured = owner.put(websearch, {"name": url, "description": url, "config": full_of(url)}, headers=headers)
    synced = owner.post(f"{websearch}/sync", headers=headers).json["data"]["operation_id"]
    credentials = {"api_token": "x", "url": url, "proxy": url}
    pressed = {"credentials": credentials, "settings": full_of(url)}
    verified = owner.post(f"{confluence}/verify", pressed, headers=headers).json["operation_id"]
    assert configured.status_code == 200
    assert len(take_jobs()) == 2

    for operation_id in (synced, verified):
        run("webhooks.deliver", operation_id)

    assert [received.json["action"] for received in receiver.received] == [
        "data_source_sync_requested", "verify_credentials",
    ]  # fmt: skip
    assert {received.path for received in receiver.received} == {"/webhook"}
    assert {received.headers["host"] for received in receiver.received} == {urlsplit(receiver.url).netloc}
    assert bait.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("header", ["Location", "Refresh", "Content-Location", "Link", "Alt-Svc"])
def test_no_answer_leads_the_webhook_anywhere_else(
    owner: Browser,
    run: Run,
    take_jobs: Callable[[], list[Job]],
    receiver: Receiver,
    bait: Receiver,
    status: int,
    header: str,
) -> None:
    receiver.otherwise = answer(status, headers={header: bait.url})
    confluence = f"{PATH}/{owner.connection()['id']}"
    pressed = owner.post(f"{confluence}/verify", {"credentials": {"api_token": "x"}})
    assert len(take_jobs()) == 1

    run("webhooks.deliver", pressed.json["operation_id"])

    assert len(receiver.received) == 1
    assert bait.received == []
    assert f"HTTP {status}" in owner.connection()["last_verification_error"]


@pytest.mark.parametrize(
    "name",
    [
        "../config.py",
        "../../pyproject.toml",
        "..%2fconfig.py",
        "..%2f..%2f.env.example",
        "%2e%2e/config.py",
        "%2e%2e%2fconfig.py",
        "..%252fconfig.py",
        "....//config.py",
        "..\\config.py",
        "..%5cconfig.py",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "console.js/../../config.py",
        "console.js%00.py",
        "%00",
        ".",
        "..",
        "./",
        "C:/windows/win.ini",
        "x" * 5_000,
        "%c0%ae%c0%ae/config.py",
        "~root/.bashrc",
    ],
)
@pytest.mark.parametrize("prefix", ["/console/", "/"])
def test_no_name_leads_out_of_the_pages_files(live: Web, prefix: str, name: str) -> None:
    request = f"GET {prefix}{name} HTTP/1.1\r\nHost: rita\r\nConnection: close\r\n\r\n".encode()

    head, _, content = exchange(live.base_url, request).partition(b"\r\n\r\n")

    status = int(head.split(b" ")[1])
    assert status == 404 or content.lstrip().lower().startswith(b"<!doctype html>"), head
    assert not any(word in content for word in (b"root:", b"Settings", b"[project]", b"import "))
    assert b"Location" not in head


@pytest.mark.parametrize(
    "path",
    ["", "//", "//api/data-sources", "///readyz", "/api//data-sources", "/hand-over//origins", "/console//x"],
)
def test_no_address_stands_for_another(owner: Browser, path: str) -> None:
    """Neither by a redirect, which names the host that the request claims to be for, nor in silence."""
    # As a server says it: Werkzeug's client takes what follows two slashes for a host.
    answer = owner.get("/", environ_overrides={"PATH_INFO": path}, headers={"Host": "stranger.example"})

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert "Location" not in answer.headers
    assert "stranger.example" not in answer.text


def test_every_file_of_the_page_is_one_that_a_page_needs() -> None:
    assert {path.suffix for path in CONSOLE_DIRECTORY.rglob("*") if path.is_file()} <= {".html", ".css", ".js", ".svg"}
