"""Signing in again, and at a platform's own page: what is half filled in stays, and nobody becomes somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from devstack.ports import free_port
from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.e2e.processes import Processes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]
# Long enough to load the page and type, on a machine that does other things too.
SHORT = timedelta(seconds=20)
PLATFORM = "https://platform.example"
TYPED = "Of the engineers"
ADA = uuid4()


@pytest.fixture
def expiring(stack: Stack, screen: SignIn, organization: UUID) -> Screen:
    """A page whose token is good no more, with a form that somebody has half filled in."""
    stack.colleague(organization).call("POST", "/api/data-sources/seed")
    return half_filled(screen(token=stack.token(organization, user=ADA, lifetime=SHORT)))


def half_filled(person: Screen) -> Screen:
    person.set_up("confluence")
    person.on("confluence", "description-input").fill(TYPED)
    expect(person.part("again")).to_be_visible()
    return person


def goes_on(person: Screen) -> None:
    """Look that the form is as it was, and that saving it goes well."""
    expect(person.part("again")).to_have_count(0)
    expect(person.part("live")).to_have_text("Live")
    expect(person.on("confluence", "description-input")).to_have_value(TYPED)
    person.save("confluence")
    expect(person.on("confluence", "description")).to_have_text(TYPED)


def pasted(person: Screen, token: str) -> None:
    person.part("again").get_by_label("Access token").fill(token)
    person.page.keyboard.press("Enter")


def test_a_token_that_expires_is_renewed_over_what_is_open(expiring: Screen, stack: Stack, organization: UUID) -> None:
    expect(expiring.part("again")).to_contain_text("Your sign-in has ended")
    assert expiring.violations() == []
    expiring.shoot("again", full_page=False)
    expiring.page.keyboard.press("Escape")
    expect(expiring.part("again")).to_be_visible()
    pasted(expiring, "not-a-token")
    expect(expiring.part("again-problem")).to_contain_text("token")

    pasted(expiring, stack.token(organization, user=ADA))

    goes_on(expiring)


def test_whoever_signs_in_as_somebody_else_begins_anew(expiring: Screen, stack: Stack) -> None:
    other = uuid4()
    stack.colleague(other).call("POST", "/api/data-sources/seed")

    pasted(expiring, stack.token(other, email="eve@globex.example"))

    expect(expiring.part("who")).to_contain_text("eve@globex.example")
    expect(expiring.page.locator("dialog[open]")).to_have_count(0)
    expect(expiring.on("confluence", "description")).not_to_have_text(TYPED)


def test_a_link_to_be_somebody_else_asks_here_too_and_no_leads_back(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    """The page behind is still Ada's: a link of `make run`, or of a platform, does not make it another's unasked."""
    ada = screen(token=stack.token(organization, user=ADA, lifetime=SHORT))
    expect(ada.part("again")).to_be_visible()

    token = stack.token(uuid4(), email="eve@globex.example")
    ada.page.evaluate("(token) => { location.hash = `token=${token}`; }", token)

    expect(ada.part("offer-current")).to_contain_text("ada@acme.example")
    ada.part("offer-no").click()
    pasted(ada, stack.token(organization, user=ADA))
    expect(ada.part("live")).to_have_text("Live")
    expect(ada.part("who")).to_contain_text("ada@acme.example")


def test_a_link_signs_in_again_over_what_is_open(expiring: Screen, stack: Stack, organization: UUID) -> None:
    token = stack.token(organization, user=ADA)

    expiring.page.evaluate("(token) => { location.hash = `token=${token}`; }", token)

    goes_on(expiring)


def test_signing_in_again_in_one_tab_is_enough_for_all(expiring: Screen, stack: Stack, organization: UUID) -> None:
    other = expiring.page.context.new_page()

    other.goto(f"{stack.address}#token={stack.token(organization, user=ADA)}")

    other.locator('.card[data-type="confluence"]').wait_for()
    goes_on(expiring)


# --- A platform's own page -------------------------------------------------------------------------------------------


@pytest.fixture
def platform(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """One more web process of the same Rita, which names a platform's page."""
    own = {"PORT": str(free_port()), "INSTANCE_ID": uuid4().hex, "SIGN_IN_URL": f"{PLATFORM}/rita"}
    with Processes(stack.processes.environ | own, directory=tmp_path) as processes:
        processes.start("web")
        yield Stack(processes)
        processes.stop_all()


# As in docs/client/README.md.
HALF_OF_THE_PLATFORM = "window.opener?.postMessage({ token }, RITA);"


def serve_platform(person: Screen, tokens: list[str], *, rita: str) -> None:
    """Let the platform's page hand over the first of the tokens, each time the next."""

    def fulfil(route: Route) -> None:
        script = f"const RITA = '{rita}', token = '{tokens.pop(0)}'; {HALF_OF_THE_PLATFORM}"
        route.fulfill(content_type="text/html", body=f"<!doctype html><title>Sign in</title><script>{script}</script>")

    person.page.context.route(f"{PLATFORM}/**", fulfil)


@pytest.fixture
def visitor(platform: Stack, chromium: Browser, organization: UUID) -> Iterator[Screen]:
    platform.colleague(organization).call("POST", "/api/data-sources/seed")
    made = Screen(chromium=chromium, stack=platform, organization=organization, token="", waits=False)
    yield made
    made.page.context.close()
    assert made.complaints == []


def test_the_platforms_page_signs_in_and_again_without_losing_anything(
    visitor: Screen, platform: Stack, organization: UUID
) -> None:
    tokens = [
        platform.token(organization, user=ADA, lifetime=SHORT),
        platform.token(organization, user=ADA),
    ]
    serve_platform(visitor, tokens, rita=platform.processes.base_url)
    expect(visitor.part("platform")).to_be_visible()
    assert visitor.violations() == []
    visitor.shoot("sign-in-platform")

    visitor.part("platform").click()
    visitor.card("confluence").wait_for()
    half_filled(visitor)
    visitor.part("again").locator('[data-role="platform"]').click()

    goes_on(visitor)


def strange(page: Page, token: str) -> None:
    """Send a token as any page or frame could that has a hold of the window."""
    page.evaluate("(token) => window.postMessage({ token }, '*')", token)


def test_no_other_window_signs_anybody_in(visitor: Screen, platform: Stack, organization: UUID) -> None:
    serve_platform(visitor, [], rita=platform.processes.base_url)
    expect(visitor.part("platform")).to_be_visible()
    visitor.page.evaluate("addEventListener('message', () => { window.heard = true; })")

    strange(visitor.page, platform.token(organization))

    visitor.page.wait_for_function("() => window.heard")
    assert visitor.page.evaluate("sessionStorage.length") == 0
