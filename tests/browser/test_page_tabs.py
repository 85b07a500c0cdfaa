"""Many tabs of one browser, which has six connections to a server over HTTP/1.1: one tab holds the stream for all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]
MANY = 12
# Long enough to load a page on a machine that does other things too; and until it has noticed.
SHORT, NOTICED_WITHIN_MS = timedelta(seconds=20), 60_000


class Tabs:
    """Tabs of one browser, each with its own sign-in, and what they ask of the server."""

    def __init__(self, first: Screen, stack: Stack) -> None:
        self.first, self.stack = first, stack
        self.pages: list[Page] = [first.page]
        self._streams: dict[Page, int] = {}
        self.count(first.page)

    def count(self, page: Page) -> None:
        self._streams[page] = 0

        def asked(url: str) -> None:
            if url.endswith("/api/sse"):
                self._streams[page] += 1

        page.on("request", lambda request: asked(request.url))

    def streams(self, *pages: Page) -> int:
        """Return how often these tabs have asked for a stream, or all."""
        # What the browser has to say of it comes before its answer.
        self.first.page.title()
        return sum(self._streams[page] for page in pages or self.pages)

    def another(self, *, lifetime: timedelta = timedelta(hours=1)) -> Page:
        page = self.first.page.context.new_page()
        self.count(page)
        self.pages.append(page)
        token = self.stack.token(self.first.organization, lifetime=lifetime)
        page.goto(f"{self.stack.address}#token={token}")
        page.locator('.card[data-type="confluence"]').wait_for()
        expect(page.locator('[data-role="live"]')).to_have_text("Live")
        return page


@pytest.fixture
def tabs(screen: SignIn, stack: Stack) -> Tabs:
    return Tabs(screen(), stack)


def renamed(stack: Stack, organization: UUID, name: str) -> None:
    colleague = stack.colleague(organization)
    colleague.call("PATCH", f"/api/data-sources/{colleague.connection()['id']}", {"name": name})


def name_on(page: Page) -> object:
    return expect(page.locator('.card[data-type="confluence"] [data-role="name"]'))


def test_the_twelfth_tab_loads_acts_and_hears(tabs: Tabs, stack: Stack) -> None:
    for _ in range(MANY - 1):
        last = tabs.another()
    # Over HTTP/1.1, as browsers speak to the server itself.
    assert stack.address.startswith("http:")

    last.get_by_role("button", name="Set up: Web Search").click()
    last.get_by_role("button", name="Save", exact=True).click()
    expect(last.locator('.card[data-type="websearch"] [data-role="state"]')).to_have_text("Ready")
    last.get_by_role("button", name="Sync now: Web Search").click()

    for page in tabs.pages:
        expect(page.locator('.card[data-type="websearch"] [data-role="state"]')).to_have_text("Synced")
    # The first asked before it was counted.
    assert tabs.streams() == 0


def test_when_the_tab_with_the_stream_goes_another_takes_over_and_misses_nothing(
    tabs: Tabs, stack: Stack, organization: UUID
) -> None:
    second, third = tabs.another(), tabs.another()
    # So that a fresh page, which the fixture closes, is left.
    tabs.first.page.goto("about:blank")
    renamed(stack, organization, "Renamed while nobody read")

    for page in (second, third):
        name_on(page).to_have_text("Renamed while nobody read")  # type: ignore[attr-defined]
        expect(page.locator('[data-role="live"]')).to_have_text("Live")
    eventually(lambda: tabs.streams(second, third) == 1)


def test_a_hidden_tab_gives_the_stream_to_one_that_is_seen_and_still_hears(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    first = screen(clock=True, waits=False)
    expect(first.part("live")).to_have_text("Live")
    tabs = Tabs(first, stack)
    second = tabs.another()
    first.hide(hidden=True)
    first.page.clock.fast_forward(20_000)

    eventually(lambda: tabs.streams(second) == 1)
    expect(first.part("live")).to_have_text("Paused")
    renamed(stack, organization, "Told by the other tab")
    name_on(second).to_have_text("Told by the other tab")  # type: ignore[attr-defined]
    name_on(first.page).to_have_text("Told by the other tab")  # type: ignore[attr-defined]
    first.hide(hidden=False)
    expect(first.part("live")).to_have_text("Live")
    assert tabs.streams(first.page) == 0


def test_a_tab_that_the_browser_freezes_gives_the_stream_away(tabs: Tabs, stack: Stack, organization: UUID) -> None:
    second = tabs.another()

    # As a phone does before it lets a page do nothing more.
    tabs.first.page.evaluate("document.dispatchEvent(new Event('freeze'))")

    renamed(stack, organization, "While it was frozen")
    name_on(second).to_have_text("While it was frozen")  # type: ignore[attr-defined]
    assert tabs.streams(second) == 1
    tabs.first.page.evaluate("document.dispatchEvent(new Event('resume'))")
    name_on(tabs.first.page).to_have_text("While it was frozen")  # type: ignore[attr-defined]
    expect(tabs.first.part("live")).to_have_text("Live")


def test_the_turn_of_a_tab_that_says_nothing_is_taken_away(screen: SignIn, stack: Stack, organization: UUID) -> None:
    first = screen(clock=True, waits=False)
    expect(first.part("live")).to_have_text("Live")
    silent = first.page.context.new_page()
    silent.goto(f"{stack.address}healthz")
    hold = "(name) => { navigator.locks.request(name, { steal: true }, () => new Promise(() => {})); }"

    silent.evaluate(hold, f"rita / {organization}")
    first.page.bring_to_front()
    first.page.clock.fast_forward(13_000)
    expect(first.part("live")).to_have_text("Reconnecting")
    renamed(stack, organization, "While nobody read")
    first.page.clock.fast_forward(20_000)

    name_on(first.page).to_have_text("While nobody read")  # type: ignore[attr-defined]
    expect(first.part("live")).to_have_text("Live")


def test_tabs_of_two_organizations_have_a_stream_each(screen: SignIn, stack: Stack) -> None:
    ada, eve = screen(), screen()
    other = Tabs(ada, stack)
    page = ada.page.context.new_page()
    other.count(page)
    organization = UUID(int=eve.organization.int ^ 1)
    stack.colleague(organization).call("POST", "/api/data-sources/seed")

    page.goto(f"{stack.address}#token={stack.token(organization)}")

    page.locator('.card[data-type="confluence"]').wait_for()
    expect(page.locator('[data-role="live"]')).to_have_text("Live")
    assert other.streams(page) == 1
    renamed(stack, organization, "Of the others")
    name_on(page).to_have_text("Of the others")  # type: ignore[attr-defined]
    expect(ada.on("confluence", "name")).to_have_text("Confluence")


def test_a_tab_whose_token_has_ended_shows_no_more_of_what_another_tab_hears(
    tabs: Tabs, stack: Stack, organization: UUID
) -> None:
    short = tabs.another(lifetime=SHORT)

    expect(short.locator('[data-role="again"]')).to_be_visible(timeout=NOTICED_WITHIN_MS)
    renamed(stack, organization, "After its token")

    name_on(tabs.first.page).to_have_text("After its token")  # type: ignore[attr-defined]
    name_on(short).to_have_text("Confluence")  # type: ignore[attr-defined]
    assert tabs.streams(short) == 0
