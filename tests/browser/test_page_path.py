"""Rita under a path of somebody's host, behind nginx as docs/deploy.md has it: its page, and the API's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import requests
from playwright.sync_api import Browser, expect

from devstack import certificates
from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.proxies.fronts import NGINX, Front, Times
from tests.proxies.variants import under_path

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

PATH = "/rita/"


@dataclass
class Under(Stack):
    """The same Rita, at another address."""

    front: Front
    certificate: Path

    @property
    def address(self) -> str:
        return self.front.url + PATH


@pytest.fixture(scope="module")
def under(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Under]:
    kind = replace(NGINX, changes=under_path(NGINX.changes, PATH))
    kind.demand()
    directory: Path = tmp_path_factory.mktemp("front")
    certificate = certificates.create_certificate(directory)
    upstream = int(stack.processes.environ["PORT"])
    with Front(
        kind, upstream=upstream, certificate=certificate, directory=directory, times=Times(idle=60, grace=1)
    ) as front:
        yield Under(stack.processes, front, certificate.authority)


@pytest.fixture
def ada(under: Under, chromium: Browser, organization: UUID) -> Iterator[Screen]:
    under.colleague(organization).seeded()
    made = Screen(chromium=chromium, stack=under, organization=organization)
    yield made
    made.page.context.close()
    assert made.complaints == []
    # Its host is others' too.
    asked = {urlsplit(url).path for url in made.requested if not url.startswith("data:")}
    assert {path for path in asked if not path.startswith(PATH)} == set()


def test_the_page_is_whole_and_live(ada: Screen, under: Under, organization: UUID) -> None:
    icon = ada.on("confluence", "icon")
    assert icon.evaluate("(image) => image.complete && image.naturalWidth > 0")
    colleague = under.colleague(organization)

    colleague.call("PATCH", f"/api/data-sources/{colleague.connection()['id']}", {"name": "Wiki of Max"})

    expect(ada.on("confluence", "name")).to_have_text("Wiki of Max")
    ada.set_up("confluence")
    assert ada.page.locator("dialog[open] img").evaluate("(image) => image.naturalWidth > 0")
    ada.on("confluence", "description-input").fill("Of the engineers")
    ada.save("confluence")
    assert colleague.connection()["description"] == "Of the engineers"


def test_the_apis_page_calls_the_api_where_it_is(ada: Screen, under: Under, organization: UUID) -> None:
    ada.page.goto(f"{under.address}api/docs")
    ada.page.get_by_role("button", name="Authorize").first.click()
    ada.page.get_by_label("auth-bearer-value").fill(under.token(organization))
    ada.page.get_by_label("Apply credentials").first.click()
    ada.page.get_by_role("button", name="Close").first.click()
    seed = ada.page.locator("#operations-Connections-data_sources_seed")
    seed.locator(".opblock-summary").click()
    seed.get_by_role("button", name="Try it out").click()
    seed.get_by_role("button", name="Execute").click()

    expect(seed.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert ada.requested[-1] == f"{under.address}api/data-sources/seed"


def test_the_path_without_its_end_leads_there(under: Under) -> None:
    address = under.address.removesuffix("/")

    answer = requests.get(address, allow_redirects=False, timeout=10, verify=under.certificate)

    assert answer.status_code == requests.codes.moved
    assert answer.headers["Location"] == under.address
