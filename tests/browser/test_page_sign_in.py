"""Who is signed in is whom they take themselves for: no link and no other page makes somebody else of them unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from devstack.ports import free_port
from tests.browser.screen import PATIENCE, Screen
from tests.browser.stack import Stack
from tests.e2e.processes import Processes
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]
PLATFORM, STRANGER = "https://platform.example", "https://stranger.example"


def question(page: Page) -> None:
    expect(page.locator('[data-role="offer"]')).to_be_visible()
    expect(page.locator(".card:visible")).to_have_count(0)


@pytest.fixture
def strangers(stack: Stack) -> tuple[UUID, str]:
    """Return the organization of somebody else's, and a good token of theirs."""
    organization = uuid4()
    stack.colleague(organization).call("POST", "/api/data-sources/seed")
    return organization, stack.token(organization, email="eve@globex.example", of_make_run=False)


def test_a_link_that_is_not_make_runs_asks_and_no_means_no(screen: SignIn, strangers: tuple[UUID, str]) -> None:
    organization, token = strangers
    nobody = screen(token=token, waits=False)

    question(nobody.page)

    expect(nobody.part("offer")).to_contain_text("eve@globex.example")
    expect(nobody.part("offer")).to_contain_text(str(organization))
    expect(nobody.part("offer-no")).to_be_focused()
    assert nobody.violations() == []
    assert "token" not in nobody.page.url
    assert nobody.page.evaluate("sessionStorage.length") == 0
    assert [url for url in nobody.requested if "/api/data-sources" in url] == []
    nobody.part("offer-no").click()
    expect(nobody.page.get_by_label("Access token")).to_be_visible()
    assert nobody.page.evaluate("sessionStorage.length") == 0


def test_whoever_is_signed_in_stays_until_they_say_yes(screen: SignIn, strangers: tuple[UUID, str]) -> None:
    organization, token = strangers
    ada = screen()
    own = ada.page.evaluate("sessionStorage.getItem('rita.token')")

    ada.page.evaluate("(token) => { location.hash = `token=${token}`; }", token)

    question(ada.page)
    expect(ada.part("offer")).to_contain_text(
        f"You are signed in as ada@acme.example of organization {ada.organization}"
    )
    ada.part("offer-no").click()
    ada.card("confluence").wait_for()
    assert ada.page.evaluate("sessionStorage.getItem('rita.token')") == own
    ada.page.evaluate("(token) => { location.hash = `token=${token}`; }", token)
    question(ada.page)
    ada.part("offer-yes").click()
    ada.card("confluence").wait_for()
    expect(ada.part("who")).to_have_attribute("title", f"Organization {organization}")


def test_a_link_of_make_run_asks_too_where_somebody_else_is_signed_in(screen: SignIn, stack: Stack) -> None:
    ada = screen()

    ada.page.goto(f"{stack.address}#token={stack.token(uuid4(), email='eve@globex.example')}")

    question(ada.page)


def test_a_bad_token_of_a_link_does_not_sign_anybody_out(screen: SignIn, stack: Stack) -> None:
    ada = screen()

    ada.page.goto(f"{stack.address}#token=not-a-token")

    expect(ada.part("alerts")).to_contain_text("token")
    expect(ada.card("confluence")).to_be_visible()
    ada.page.reload()
    ada.card("confluence").wait_for()


TYPED = "Of the engineers"


@pytest.fixture
def half_filled(screen: SignIn, stack: Stack, organization: UUID) -> tuple[Screen, UUID]:
    """A page with a form that somebody has half filled in, and who they are."""
    user = uuid4()
    stack.colleague(organization).call("POST", "/api/data-sources/seed")
    ada = screen(token=stack.token(organization, user=user))
    ada.set_up("confluence")
    ada.on("confluence", "description-input").fill(TYPED)
    return ada, user


def follow(person: Screen, token: str) -> None:
    person.page.evaluate("(token) => { location.hash = `token=${token}`; }", token)


def test_a_link_over_a_half_filled_form_says_so_and_leaves_it(
    half_filled: tuple[Screen, UUID], strangers: tuple[UUID, str], stack: Stack
) -> None:
    ada, user = half_filled
    asked = ada.page.locator("dialog.question")

    follow(ada, strangers[1])

    expect(asked).to_contain_text("sign you in as eve@globex.example")
    expect(asked).to_contain_text(str(strangers[0]))
    expect(asked).to_contain_text("You are ada@acme.example, and what you have entered here is not saved")
    expect(asked.get_by_role("button", name="Stay")).to_be_focused()
    assert ada.violations() == []
    asked.get_by_role("button", name="Stay").click()
    expect(ada.on("confluence", "description-input")).to_have_value(TYPED)
    assert "token" not in ada.page.url
    follow(ada, "not-a-token")
    expect(asked).to_contain_text("token")
    asked.get_by_role("button", name="Close").click()
    # One's own changes nothing but the token.
    own = stack.token(ada.organization, user=user)
    follow(ada, own)
    eventually(lambda: ada.page.evaluate("sessionStorage.getItem('rita.token')") == own)
    ada.save("confluence")
    expect(ada.on("confluence", "description")).to_have_text(TYPED)


def test_who_says_yes_over_a_half_filled_form_is_somebody_else(
    half_filled: tuple[Screen, UUID], strangers: tuple[UUID, str]
) -> None:
    ada, _ = half_filled

    follow(ada, strangers[1])
    ada.page.get_by_role("button", name="Sign in as eve@globex.example").click()

    expect(ada.part("who")).to_contain_text("eve@globex.example")
    expect(ada.page.locator("dialog[open]")).to_have_count(0)


def test_what_was_asked_for_one_person_is_not_shown_to_the_next_one_of_the_tab(
    screen: SignIn, strangers: tuple[UUID, str]
) -> None:
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    ada = screen(routes={"**/api/overview": hold})

    def waiting(*, of_eve: bool) -> list[Route]:
        ada.page.evaluate("1")  # Meanwhile, routes are told.
        return [route for route in asked if (strangers[1] in route.request.headers["authorization"]) is of_eve]

    def answered(routes: list[Route], name: str) -> None:
        for route in routes:
            route.fulfill(json={"data": {"organization_name": name, "days": [], "recent": []}})

    eventually(lambda: waiting(of_eve=False))
    ada.page.evaluate(
        """() => {
          const name = document.querySelector('[data-role="organization"]');
          window.shown = [];
          new MutationObserver(() => window.shown.push(name.textContent)).observe(name, { childList: true });
        }"""
    )
    ada.page.evaluate("(token) => { location.hash = `token=${token}`; }", strangers[1])
    ada.part("offer-yes").click()
    eventually(lambda: waiting(of_eve=True))

    answered(waiting(of_eve=False), "Acme")
    answered(waiting(of_eve=True), "Globex")

    expect(ada.part("organization")).to_have_text("Globex")
    assert "Acme" not in ada.page.evaluate("shown")


# --- A platform's own page hands its person's token over -------------------------------------------------------------


@pytest.fixture
def trusting(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """One more web process of the same Rita, which names an origin."""
    own = {"PORT": str(free_port()), "INSTANCE_ID": uuid4().hex, "CORS_ORIGINS": PLATFORM}
    with Processes(stack.processes.environ | own, directory=tmp_path) as processes:
        processes.start("web")
        yield Stack(processes)
        processes.stop_all()


# As in docs/client/README.md.
HALF_OF_THE_PLATFORM = """
const rita = window.open(`${address}/hand-over`);
addEventListener('message', ({ origin, source, data }) => {
  if (origin !== address || source !== rita || data !== 'rita: ready') return;
  rita.postMessage({ token }, address);
});
"""
# The same, which says when it has, and can again.
HALF_OF_A_STRANGER = HALF_OF_THE_PLATFORM.replace(
    "rita.postMessage", "window.again = () => rita.postMessage({ token }, address); rita.postMessage"
)


def opened_from(chromium: Browser, origin: str, *, address: str, token: str, script: str) -> tuple[Page, Page]:
    """Return a page of the origin, and the one that it opens."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)

    def fulfil(route: Route) -> None:
        route.fulfill(content_type="text/html", body="<!doctype html><title>a platform</title>")

    page.route(f"{origin}/**", fulfil)
    page.goto(f"{origin}/")
    with context.expect_page() as opened:
        page.evaluate(f"([address, token]) => {{ {script} }}", [address, token])
    return page, opened.value


def test_a_page_of_a_named_origin_hands_its_persons_token_over(
    trusting: Stack, chromium: Browser, strangers: tuple[UUID, str]
) -> None:
    organization, token = strangers

    _, page = opened_from(
        chromium, PLATFORM, address=trusting.processes.base_url, token=token, script=HALF_OF_THE_PLATFORM
    )

    page.locator('.card[data-type="confluence"]').wait_for(timeout=PATIENCE)
    expect(page.locator('[data-role="who"]')).to_have_attribute("title", f"Organization {organization}")
    assert page.url == trusting.address
    # The page itself is reached by no other.
    assert page.evaluate("window.opener") is None
    page.context.close()


@pytest.mark.parametrize("origin", [STRANGER, "https://evil.platform.example", "https://platform.example:8443"])
def test_a_page_of_any_other_origin_hands_nothing_over(
    trusting: Stack, chromium: Browser, strangers: tuple[UUID, str], origin: str
) -> None:
    opener, page = opened_from(
        chromium, origin, address=trusting.processes.base_url, token=strangers[1], script=HALF_OF_A_STRANGER
    )
    # It has said that it listens.
    opener.wait_for_function("() => window.again")

    page.evaluate("addEventListener('message', () => { window.heard = true; })")
    opener.evaluate("window.again()")

    page.wait_for_function("() => window.heard")
    assert page.url.endswith("/hand-over")
    assert page.evaluate("sessionStorage.length") == 0
    page.context.close()


def test_without_a_named_origin_there_is_no_hand_over(stack: Stack, chromium: Browser) -> None:
    page = chromium.new_page()

    answer = page.goto(f"{stack.processes.base_url}/hand-over")

    assert answer is not None
    assert answer.status == 404
    page.close()
