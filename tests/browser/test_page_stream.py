"""When the page asks for its stream again, and when it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browser.screen import Screen
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]

STREAM = "**/api/sse"


def asked(person: Screen) -> int:
    """Return how often the page has asked for its stream."""
    # What the browser has to say of it comes before its answer.
    person.page.title()
    return sum(url.endswith("/api/sse") for url in person.requested)


def in_its_place(route: Route) -> None:
    """Answer as a proxy's or a network's own page does; there are blank lines in it, as between events."""
    route.fulfill(status=200, content_type="text/html", body="<!doctype html>\n\n<p>Back soon</p>\n\n")


def busy(route: Route) -> None:
    route.fulfill(status=503, headers={"Retry-After": "60"}, content_type="application/json", body="{}")


def test_a_page_that_something_in_between_answers_is_no_stream(screen: SignIn) -> None:
    ada = screen(waits=False, clock=True, routes={STREAM: in_its_place})
    ada.card("confluence").wait_for()
    for _ in range(4):
        ada.page.clock.run_for(3_000)

    expect(ada.part("live")).to_have_text("Not live")
    # Once a second would be thirteen times.
    assert 3 <= asked(ada) <= 6


def test_a_page_that_something_in_between_answers_is_no_list_of_sources_either(screen: SignIn) -> None:
    ada = screen(waits=False, routes={"**/api/data-sources": in_its_place})
    expect(ada.part("failure")).to_contain_text("Something between you and the server answered in its place")

    ada.page.unroute("**/api/data-sources")
    ada.part("retry").click()

    ada.card("confluence").wait_for()


def test_the_page_comes_back_no_sooner_than_the_server_says(screen: SignIn) -> None:
    ada = screen(waits=False, clock=True, routes={STREAM: busy})
    ada.card("confluence").wait_for()
    eventually(lambda: asked(ada) == 1)

    ada.page.clock.run_for(55_000)
    before = asked(ada)
    ada.page.clock.run_for(10_000)

    assert before == 1
    assert asked(ada) == 2


@pytest.mark.parametrize(("chance", "too_soon"), [(0.0, 700), (0.99, 1_200)])
def test_pages_that_were_cut_off_together_do_not_come_back_together(
    screen: SignIn, chance: float, too_soon: int
) -> None:
    ada = screen(clock=True, waits=False)
    expect(ada.part("live")).to_have_text("Live")
    ada.page.clock.pause_at(ada.page.evaluate("Date.now() + 1000"))
    ada.page.evaluate(f"Math.random = () => {chance}")
    ada.page.route(STREAM, busy_at_once)
    ada.page.evaluate("dispatchEvent(new Event('offline'))")
    ada.page.evaluate("dispatchEvent(new Event('online'))")
    eventually(lambda: asked(ada) == 2)
    expect(ada.part("live")).to_have_text("Reconnecting")

    ada.page.clock.run_for(too_soon)
    before = asked(ada)
    ada.page.clock.run_for(100)

    eventually(lambda: asked(ada) == 3)
    assert before == 2


def busy_at_once(route: Route) -> None:
    route.fulfill(status=503, content_type="application/json", body="{}")


def test_a_hidden_tab_does_not_take_its_stream_back_when_the_network_returns(screen: SignIn) -> None:
    ada = screen(waits=False, clock=True)
    expect(ada.part("live")).to_have_text("Live")
    ada.hide(hidden=True)
    ada.page.clock.fast_forward(20_000)
    expect(ada.part("live")).to_have_text("Paused")

    ada.page.context.set_offline(True)
    expect(ada.part("live")).to_have_text("Not live")
    ada.page.evaluate("addEventListener('online', () => { document.title = 'online' })")
    ada.page.context.set_offline(False)
    eventually(lambda: ada.page.title() == "online")
    assert asked(ada) == 1

    ada.hide(hidden=False)
    expect(ada.part("live")).to_have_text("Live")


def test_a_tab_that_is_born_hidden_asks_for_its_stream_once_somebody_sees_it(screen: SignIn) -> None:
    ada = screen(waits=False, hidden=True)
    ada.card("confluence").wait_for()
    expect(ada.part("live")).to_have_text("Paused")
    assert asked(ada) == 0

    ada.hide(hidden=False)

    expect(ada.part("live")).to_have_text("Live")
    assert asked(ada) == 1
