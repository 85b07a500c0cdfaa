"""Every source, run and dialog has an address; a run's page; changes in words that people use."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import Screen
from tests.browser.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]


def at(person: Screen, address: str) -> None:
    expect(person.page).to_have_url(re.compile(re.escape(f"#/{address}") + "$"))


def test_an_address_opens_what_it_names_and_a_step_back_closes_it(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    ada = screen()
    connection = stack.colleague(organization).connection()
    ada.set_up("confluence")
    at(ada, f"sources/{connection['id']}/settings")

    ada.page.go_back()
    expect(ada.page.locator("dialog[open]")).to_have_count(0)
    ada.on("confluence", "history").click()
    at(ada, f"sources/{connection['id']}/history")
    ada.page.get_by_role("tab", name="Changes").click()
    at(ada, f"sources/{connection['id']}/changes")
    # As a colleague opens it.
    ada.page.reload()
    expect(ada.part("changes")).to_contain_text("created it")
    ada.page.keyboard.press("Escape")

    expect(ada.page.locator("dialog[open]")).to_have_count(0)
    assert "#" not in ada.page.url


def test_a_step_back_does_not_throw_away_what_was_typed(screen: SignIn) -> None:
    ada = screen()
    ada.set_up("confluence")
    ada.on("confluence", "description-input").fill("Of the engineers")

    ada.page.go_back()

    expect(ada.page.get_by_role("button", name="Stay")).to_be_visible()
    ada.page.get_by_role("button", name="Stay").click()
    expect(ada.on("confluence", "description-input")).to_have_value("Of the engineers")


def test_a_link_that_is_no_address_opens_the_page(screen: SignIn) -> None:
    ada = screen()

    ada.page.evaluate("location.hash = '#/sources/%'")
    ada.page.reload()

    expect(ada.card("confluence")).to_be_visible()
    assert ada.complaints == []


def test_an_address_of_nothing_says_so(screen: SignIn) -> None:
    ada = screen()

    ada.page.evaluate("location.hash = '#/sources/00000000-0000-4000-8000-000000000001/history'")
    expect(ada.part("alerts")).to_contain_text("There is no such data source here")
    ada.page.evaluate("location.hash = '#/runs/00000000-0000-4000-8000-000000000001'")

    expect(ada.part("run-panel").get_by_role("alert")).to_contain_text("no operation")


def test_a_runs_page_tells_all_of_it(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    path = f"/api/data-sources/{colleague.connection()['id']}"
    colleague.call("PATCH", path, {"config": {"simulate": "flaky,fail_sync"}})
    stack.synced(colleague, "confluence")
    ada = screen(seeded=False)
    ada.page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    ada.on("confluence", "history").click()
    ada.part("history-panel").locator('[data-role="details"]').first.click()

    run = ada.part("run-panel")
    operation = colleague.call("GET", f"{path}/operations")["data"][0]
    at(ada, f"runs/{operation['id']}")
    expect(run.get_by_role("heading", name="Sync of Confluence")).to_be_visible()
    expect(run.locator('[data-role="exact"]')).to_have_text(operation["error"])
    attempts = run.get_by_role("group", name="Attempts").locator("tbody tr")
    expect(attempts).to_have_count(3)
    expect(attempts.first).to_contain_text("HTTP 500")
    reports = run.get_by_role("group", name="Reports").locator("tbody tr")
    expect(reports).to_have_count(len(operation["reports"]))
    expect(reports.last).to_contain_text("the end")
    expect(run.locator('[data-role="run-steps"] li')).to_have_count(4)
    expect(run.locator("svg.curve")).to_be_visible()
    run.get_by_role("button", name="Copy the operation's id").click()
    assert ada.page.evaluate("navigator.clipboard.readText()") == operation["id"]
    assert ada.violations() == []
    ada.shoot("run", full_page=False)
    ada.page.set_viewport_size({"width": 390, "height": 844})
    assert ada.page.evaluate("(d => d.scrollWidth - d.clientWidth)(document.querySelector('dialog'))") <= 0
    ada.shoot("run-phone", full_page=False)
    ada.page.go_back()
    expect(ada.part("history-panel")).to_be_visible()


def test_changes_are_told_in_words_that_people_use(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    path = f"/api/data-sources/{colleague.connection()['id']}"
    colleague.call("PATCH", path, {"config": {"spaces": "ENG"}})
    colleague.call("PATCH", path, {"config": {"spaces": "ENG,PROD"}, "description": "Of the engineers"})
    stack.synced(colleague, "confluence")
    ada = screen(seeded=False)
    ada.on("confluence", "history").click()
    ada.page.get_by_role("tab", name="Changes").click()

    changes = ada.part("changes")
    expect(changes.get_by_text("Spaces: ENG → ENG, PROD")).to_be_visible()
    expect(changes.get_by_text("Spaces: not set → ENG")).to_be_visible()
    expect(
        changes.get_by_text("Description: Connect your Atlassian Confluence workspace → Of the engineers")
    ).to_be_visible()
    expect(changes.get_by_text("Switched on")).to_be_visible()
    expect(changes.get_by_text("Spaces to choose from: 4")).to_be_visible()
    told = changes.inner_text()
    assert not re.search(r"last_|latest_|Status|nothing|null|not set → not set", told)
    ada.shoot("changes-in-words", full_page=False)


def test_each_credential_says_where_it_is_found(screen: SignIn) -> None:
    ada = screen()
    ada.set_up("confluence")

    link = ada.panel("confluence").get_by_role("link", name="Open that page")

    expect(link).to_have_attribute("href", "https://id.atlassian.com/manage-profile/security/api-tokens")
    expect(link).to_have_attribute("rel", "noreferrer")
    ada.shoot("help", full_page=False)
