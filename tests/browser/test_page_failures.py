"""What can go wrong for a user, and what the page says then."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import CREDENTIALS, Screen, broken, held
from tests.browser.stack import Stack
from tests.e2e.service import Service
from tests.factories import a_sync_message

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]


def test_a_refused_credential_says_so_and_what_to_do_and_is_nowhere_in_the_page(screen: SignIn) -> None:
    ada = screen()

    ada.verify("confluence", api_token="a-bad-token")

    problem = ada.on("confluence", "verify-problem")
    expect(problem).to_have_text(
        "Confluence refused the API token (401). Correct the credentials and verify them again."
    )
    # What is no secret stays; the secret has the focus.
    expect(ada.panel("confluence").locator('[data-credential="api_token"]')).to_be_focused()
    inputs = ada.panel("confluence").locator("[data-credential]")
    kept = [CREDENTIALS["confluence"]["url"], CREDENTIALS["confluence"]["email"], ""]
    assert [inputs.nth(place).input_value() for place in range(3)] == kept
    assert "a-bad-token" not in ada.page.content()
    assert ada.violations() == []
    ada.shoot("refused", full_page=False)
    ada.page.keyboard.press("Escape")
    expect(ada.on("confluence", "state")).to_have_text("Verification failed")
    expect(ada.on("confluence", "error")).to_contain_text("refused the API token")
    expect(ada.on("confluence", "advice")).to_have_text("Correct the credentials and verify them again.")
    expect(ada.on("confluence", "primary")).to_have_text("Correct credentials")


def test_what_is_missing_is_told_beside_it_and_nothing_is_sent(screen: SignIn) -> None:
    ada = screen()
    ada.set_up("confluence")
    url = ada.panel("confluence").locator('[data-credential="url"]')
    url.fill("acme")

    ada.on("confluence", "verify").click()

    expect(url).to_be_focused()
    expect(url).to_have_attribute("aria-invalid", "true")
    expect(ada.on("confluence", "credentials").locator(".field .error:visible")).to_have_text(
        ["Enter the whole address, beginning with https://", "This is needed.", "This is needed."]
    )
    assert ada.violations() == []
    assert not [url for url in ada.requested if url.endswith("/verify")]


def test_a_delivery_that_fails_shows_its_attempts_and_recovers(screen: SignIn) -> None:
    ada = screen()

    ada.verify("sharepoint", simulate="flaky")

    form = ada.on("sharepoint", "credentials")
    expect(form.locator('[data-role="attempts"]')).to_have_text(
        re.compile(
            r"1 attempt failed: The external service has an error \(HTTP 500\); (next try in [12] s|trying again now)"
        )
    )
    expect(form.locator('[data-state="now"]')).to_contain_text("Delivering")
    ada.shoot("retrying", full_page=False)
    expect(form.locator('[data-role="attempts"]')).to_contain_text("2 attempts failed")
    expect(ada.panel("sharepoint").locator("[data-option] input").first).to_be_visible()
    expect(form.locator('[data-role="verified"]')).to_contain_text("Verified just now")


def test_a_verification_that_nobody_answers_ends_by_its_deadline(screen: SignIn) -> None:
    ada = screen()

    ada.verify("confluence", simulate="silence")

    form = ada.on("confluence", "credentials")
    expect(form.locator('[data-state="now"]')).to_contain_text("Awaiting the answer")
    expect(form.locator('[data-role="clock"]')).to_have_text(
        re.compile(r"Asked \d s ago; an answer is due within \d+ s")
    )
    assert ada.violations() == []
    ada.shoot("verifying", full_page=False)
    expect(ada.on("confluence", "verify-problem")).to_contain_text("did not answer in time; verify again")
    expect(ada.card("confluence")).to_have_attribute("data-status", "idle")


def test_an_admin_cancels_what_does_not_move_and_a_member_is_told_who_can(screen: SignIn) -> None:
    ada = screen()
    max_ = screen(role="member", email="max@acme.example")
    ada.verify("confluence", simulate="silence,duplicate")
    ada.on("confluence", "cancel").click()
    ada.page.get_by_role("button", name="Cancel the verification").click()
    expect(ada.on("confluence", "verify-problem")).to_contain_text("Ended by ada@acme.example without an answer")
    ada.rehearse("confluence", "")
    ada.verified("confluence")
    ada.rehearse("confluence", "silence")
    ada.on("confluence", "save-sync").click()
    card = ada.card("confluence")
    expect(card).to_have_attribute("data-status", "syncing")
    # The form, which has one of its own, may still be closing.
    news = card.locator('[data-role="news"]').first
    expect(news).to_contain_text("Not started yet; without a start it counts as lost in")

    barred = max_.card("confluence").get_by_role("button", name="Cancel: Confluence")
    expect(barred).to_be_disabled()
    expect(max_.on("confluence", "who-can")).to_have_text("An admin of your organization can cancel it.")
    cancel = card.get_by_role("button", name="Cancel: Confluence")
    cancel.click()
    expect(ada.page.get_by_role("group", name="Stop waiting for this sync?")).to_contain_text(
        "It is marked as failed here. The external service is not told and may go on"
    )
    assert ada.violations() == []
    ada.shoot("question")
    ada.page.keyboard.press("Escape")
    expect(card).to_have_attribute("data-status", "syncing")
    cancel.click()
    ada.page.get_by_role("button", name="Cancel the sync").click()

    expect(ada.on("confluence", "state")).to_have_text("Sync failed")
    expect(max_.on("confluence", "error")).to_have_text("Ended by ada@acme.example without an answer")
    ada.on("confluence", "history").click()
    expect(ada.part("history-panel").locator('[data-outcome="expired"]').first).to_contain_text("No answer")


def test_a_sync_is_started_over_in_place_of_one_that_does_not_move(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    ada = screen()
    ada.verified("confluence")
    ada.on("confluence", "settings").locator("summary").click()
    ada.rehearse("confluence", "stall")
    ada.on("confluence", "save-sync").click()
    card = ada.card("confluence")
    expect(card.locator('[data-state="now"]')).to_contain_text("Running")
    colleague = stack.colleague(organization)
    connection = colleague.connection()
    colleague.call("PATCH", f"/api/data-sources/{connection['id']}", {"config": {"simulate": "duplicate"}})

    card.locator(".stuck summary").click()
    card.locator('[data-role="start-over"]').click()
    ada.page.get_by_role("button", name="Start over", exact=True).click()

    expect(ada.on("confluence", "state")).to_have_text("Synced")
    ada.on("confluence", "history").click()
    panel = ada.part("history-panel")
    expect(panel.locator('[data-outcome="replaced"]')).to_contain_text("Replaced by a newer request")
    expect(panel.locator('[data-outcome="succeeded"]').first).to_contain_text("asked for by")


def test_who_is_not_signed_in_is_told_how_and_a_bad_token_why(screen: SignIn, stack: Stack, organization: UUID) -> None:
    nobody = screen(token="", waits=False)
    expect(nobody.page.get_by_label("Access token")).to_be_visible()
    assert nobody.violations() == []
    nobody.shoot("sign-in")

    nobody.page.get_by_label("Access token").fill("not-a-token")
    nobody.page.keyboard.press("Enter")
    expect(nobody.part("sign-in-reason")).to_contain_text("This access token is not accepted")
    expired = stack.token(organization, lifetime=timedelta(seconds=-60))
    nobody.page.goto(f"{stack.address}#token={expired}")
    expect(nobody.part("sign-in-reason")).to_contain_text("Your sign-in has ended")
    assert "token" not in nobody.page.url
    nobody.page.get_by_label("Access token").fill(stack.token(organization))
    nobody.page.keyboard.press("Enter")
    nobody.card("confluence").wait_for()
    nobody.page.reload()
    nobody.card("confluence").wait_for()
    nobody.part("sign-out").click()

    expect(nobody.part("sign-in-reason")).to_have_text("You are signed out.")
    assert nobody.page.evaluate("sessionStorage.length") == 0
    expect(nobody.page.locator(".card:visible")).to_have_count(0)


def test_what_loads_and_what_fails_is_shown_as_such(screen: SignIn) -> None:
    waiting = screen(waits=False, routes={"**/api/data-sources": held})
    expect(waiting.page.locator(".skeleton")).to_have_count(4)
    assert waiting.violations() == []
    failing = screen(waits=False, routes={"**/api/data-sources": broken})
    expect(failing.part("failure")).to_contain_text("The database does not answer; nothing was changed, try again")
    expect(failing.part("failure")).to_contain_text("the-request")
    assert failing.violations() == []
    failing.shoot("failure")
    failing.page.unroute("**/api/data-sources")

    failing.part("retry").click()

    failing.card("confluence").wait_for()


def test_a_long_error_is_folded_with_all_of_it_one_click_away(screen: SignIn, stack: Stack, rabbitmq_url: str) -> None:
    ada = screen()
    colleague = stack.colleague(ada.organization)
    connection = colleague.connection("websearch")
    colleague.call("PUT", f"/api/data-sources/{connection['id']}", {})
    words = f"The site answered 500: {'and then some ' * 270}to the very end"

    Service(rabbitmq_url).send(a_sync_message(connection, "sync_failed", error_message=words))

    expect(ada.on("websearch", "error")).to_have_text(words)
    more = ada.card("websearch").get_by_role("button", name="Show all")
    expect(more).to_have_attribute("aria-expanded", "false")
    assert height(ada) < 600
    assert ada.violations() == []
    more.click()
    expect(ada.card("websearch").get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
    assert height(ada) > 1_200
    ada.card("websearch").get_by_role("button", name="Show less").click()
    assert height(ada) < 600
    ada.on("websearch", "history").click()
    expect(ada.page.locator("dialog[open]").get_by_role("button", name="Show all")).to_be_visible()
    assert ada.violations() == []


def test_so_is_a_long_reason_in_the_table_and_stays_unfolded(screen: SignIn, stack: Stack, rabbitmq_url: str) -> None:
    ada = screen()
    colleague = stack.colleague(ada.organization)
    colleague.call("POST", "/api/data-sources", {"type": "gdrive"})
    connection = colleague.connection("websearch")
    colleague.call("PUT", f"/api/data-sources/{connection['id']}", {})
    words = f"The site answered 500: {'and then some ' * 270}to the very end"
    Service(rabbitmq_url).send(a_sync_message(connection, "sync_failed", error_message=words))
    ada.part("view").click()

    row = ada.page.locator('tr[data-row="websearch"]')
    expect(row).to_contain_text("to the very end")
    more = row.get_by_role("button", name="Show all")
    expect(more).to_have_attribute("aria-expanded", "false")
    assert row.evaluate("(row) => row.offsetHeight") < 250
    assert ada.violations() == []
    more.click()
    # Another row's news draws the table anew.
    colleague.call("PATCH", f"/api/data-sources/{colleague.connection('confluence')['id']}", {"name": "Wiki"})
    expect(ada.page.locator('tr[data-row="confluence"]')).to_contain_text("Wiki")

    expect(row.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
    assert row.evaluate("(row) => row.offsetHeight") > 500


def height(person: Screen) -> float:
    box = person.card("websearch").bounding_box()
    assert box is not None
    return box["height"]
