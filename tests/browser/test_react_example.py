"""The example of docs/client, built as a frontend team builds it, and driven against the real processes."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.browser.screen import CREDENTIALS, PATIENCE
from tests.browser.stack import Stack
from tests.e2e.processes import Processes
from tests.faults.proxy import Proxy
from tests.node import DOCS, INSTALLED_WITHIN, installed, run
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(2 * INSTALLED_WITHIN + 200)]
MOST_LINES = 150
ADA = uuid4()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@dataclass
class Example:
    """The built example at an address of its own, the network between it and Rita, and Rita."""

    address: str
    network: Proxy
    stack: Stack

    def open(self, chromium: Browser, token: str, *, beside: Page | None = None) -> Page:
        page = (beside.context if beside else chromium.new_context()).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(self.address)
        page.evaluate("(token) => sessionStorage.setItem('token', token)", token)
        page.reload()
        return page


@pytest.fixture(scope="module")
def example(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    own = {"PORT": str(free_port()), "INSTANCE_ID": uuid4().hex, "CORS_ORIGINS": address}
    with (
        Processes(stack.processes.environ | own, directory=tmp_path_factory.mktemp("example")) as processes,
        installed(DOCS / "client" / "example") as folder,
        Proxy(int(own["PORT"])) as network,
    ):
        # What `npm run copy` finds beside it.
        for source in (DOCS / "client").glob("*.ts"):
            shutil.copy(source, folder.parent)
        (folder / ".env").write_text(f"VITE_RITA_URL=http://{LOOPBACK}:{network.port}\n")
        built = run(folder, "npm", "run", "--silent", "build", within=180)
        assert built.returncode == 0, built.stdout + built.stderr
        processes.start("web")
        server = ThreadingHTTPServer((LOOPBACK, port), partial(Quiet, directory=folder / "dist"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Example(address, network, Stack(processes))
        server.shutdown()
        thread.join()
        server.server_close()
        processes.stop_all()


@pytest.fixture
def organization() -> UUID:
    return uuid4()


@pytest.fixture
def page(example: Example, chromium: Browser, organization: UUID) -> Iterator[Page]:
    """The example, signed in and live, with the standard sources."""
    made = example.open(chromium, example.stack.token(organization, user=ADA))
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.get_by_role("button", name="Add the standard sources").click()
    source(made).wait_for()
    live(made)
    yield made
    made.context.close()
    assert complaints == []


def source(page: Page, name: str = "Confluence") -> Locator:
    return page.get_by_role("region", name=name)


def live(page: Page) -> None:
    expect(page.get_by_role("status")).to_have_text("live", timeout=PATIENCE)


def shows(page: Page, state: str, name: str = "Confluence") -> None:
    expect(source(page, name).locator("strong")).to_have_text(state, timeout=PATIENCE)


def verified(page: Page) -> Locator:
    """Verify Confluence, choose one of its spaces, and return its section."""
    section = source(page)
    section.get_by_role("button", name="Credentials").click()
    for name, value in CREDENTIALS["confluence"].items():
        section.locator(f"input[name={name}]").fill(value)
    section.get_by_role("button", name="Verify").click()
    section.get_by_role("button", name="Choose").click()
    section.get_by_role("checkbox").first.check()
    section.get_by_role("button", name="Save").click()
    shows(page, "pending")
    return section


def test_it_is_small() -> None:
    folder = DOCS / "client" / "example"
    written = [*folder.glob("*.ts"), *folder.glob("*.html"), *folder.glob("*.js"), *(folder / "src").glob("*.tsx")]

    assert sum(len(each.read_text().splitlines()) for each in written) < MOST_LINES


def test_it_verifies_chooses_and_syncs_live_in_two_tabs_with_one_stream(
    example: Example, chromium: Browser, page: Page, organization: UUID
) -> None:
    streams: list[str] = []
    second = example.open(chromium, example.stack.token(organization, user=ADA), beside=page)
    for each in (page, second):
        each.on("request", lambda request: streams.append(request.url) if "/api/sse?" in request.url else None)
    live(second)

    section = verified(page)
    section.get_by_role("button", name="Sync").click()

    for each in (page, second):
        shows(each, "completed")
        expect(source(each)).to_contain_text("documents")
    section.get_by_role("button", name="Runs").click()
    expect(section.get_by_role("listitem")).to_have_count(2)
    expect(section.get_by_role("listitem").first).to_contain_text("sync, succeeded")
    person = example.stack.colleague(organization)
    assert person.connection()["config"]["spaces"] != ""
    # The second tab opened none when it was loaded, nor since.
    assert streams == []
    # When the tab with the stream goes, the other goes on.
    page.goto("about:blank")
    renamed(example, organization, "Handbook")
    expect(source(second, "Handbook")).to_be_visible(timeout=PATIENCE)
    # What the browser has to say of it comes before its answer.
    eventually(lambda: second.title() and len(streams) == 1)
    page.go_back()


def renamed(example: Example, organization: UUID, name: str) -> None:
    person = example.stack.colleague(organization)
    person.call("PATCH", f"/api/data-sources/{person.connection()['id']}", {"name": name})


def test_what_happens_while_the_stream_is_cut_is_there_once_it_is_back(
    example: Example, page: Page, organization: UUID
) -> None:
    example.network.refuse()
    example.network.cut()
    expect(page.get_by_role("status")).to_have_text("connecting", timeout=PATIENCE)
    renamed(example, organization, "Renamed meanwhile")

    example.network.listen()

    expect(source(page, "Renamed meanwhile")).to_be_visible(timeout=PATIENCE)
    live(page)


def test_a_token_that_expires_is_asked_for_and_nothing_on_the_screen_is_lost(
    example: Example, chromium: Browser, organization: UUID
) -> None:
    example.stack.colleague(organization).call("POST", "/api/data-sources/seed")
    short = example.stack.token(organization, user=ADA, lifetime=timedelta(seconds=15))
    page = example.open(chromium, short)
    live(page)
    section = source(page)
    section.get_by_role("button", name="Credentials").click()
    section.locator("input[name=email]").fill("ada@acme.example")

    expect(page.get_by_role("alert")).to_contain_text(re.compile("expired|token"), timeout=PATIENCE)
    page.get_by_label("Access token").fill(example.stack.token(organization, user=ADA))
    page.get_by_role("button", name="Sign in").click()

    live(page)
    expect(section.locator("input[name=email]")).to_have_value("ada@acme.example")
    renamed(example, organization, "Live again")
    expect(source(page, "Live again")).to_be_visible(timeout=PATIENCE)
    page.context.close()


def test_a_change_in_between_and_a_second_sync_are_refused_in_words(
    example: Example, page: Page, organization: UUID
) -> None:
    section = verified(page)
    person = example.stack.colleague(organization)
    person.call("PATCH", f"/api/data-sources/{person.connection()['id']}", {"config": {"simulate": "stall"}})
    section.get_by_role("button", name="Choose").click()
    renamed(example, organization, "Handbook")
    section = source(page, "Handbook")
    section.get_by_role("button", name="Save").click()

    expect(section.get_by_role("alert")).to_contain_text("changed")
