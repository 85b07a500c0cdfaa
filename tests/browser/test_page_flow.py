"""The page as people use it: from an empty organization to a synced source, and what it shows of the past."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import Screen
from tests.browser.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]
# The first message only: a sync that stays where it is.
STALLING = {"sites": "Intranet", "simulate": "stall"}
# A picture shows more of them than a test has to.
RUNS = 8 if os.environ.get("SCREENSHOTS") else 2


def test_an_empty_organization_gets_to_a_synced_source(screen: SignIn) -> None:
    ada = screen(seeded=False, waits=False)
    ada.part("seed").click()
    expect(ada.page.locator(".card:visible")).to_have_count(4)
    expect(ada.on("confluence", "state")).to_have_text("Not set up yet")

    options = ada.verified("confluence")
    options.first.check()
    ada.save("confluence")
    expect(ada.on("confluence", "state")).to_have_text("Ready")
    expect(ada.on("confluence", "documents")).to_have_text("No documents yet")
    ada.on("confluence", "sync").click()

    expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.on("confluence", "last-sync")).to_contain_text("Sync completed")
    expect(ada.on("confluence", "last-sync").locator("time")).to_have_attribute("datetime", re.compile(r"^\d{4}-"))
    expect(ada.on("confluence", "last-sync").locator("time")).to_have_attribute("title", re.compile(r"\d\d:\d\d"))
    expect(ada.on("confluence", "documents")).to_have_text(re.compile(r"^\d+ documents$"))
    assert "token" not in ada.page.url


def test_what_was_chosen_is_saved_and_shown_again(screen: SignIn, stack: Stack, organization: UUID) -> None:
    ada = screen()
    options = ada.verified("servicenow")
    options.nth(1).check()
    ada.on("servicenow", "name-input").fill("Tickets")
    ada.save("servicenow")

    saved = stack.colleague(organization).connection("servicenow")
    assert (saved["name"], saved["config"], saved["enabled"]) == ("Tickets", {"tables": "kb_knowledge"}, True)
    expect(ada.on("servicenow", "name")).to_have_text("Tickets")
    ada.set_up("servicenow")
    expect(options.nth(1)).to_be_checked()
    expect(options.nth(0)).not_to_be_checked()


def test_a_name_with_a_comma_is_offered_whole_and_goes_back_as_it_was_chosen(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    ada = screen()
    options = ada.verified("sharepoint")
    expect(options).to_have_count(4)
    ada.panel("sharepoint").get_by_label("Sales, EMEA").check()
    ada.save("sharepoint")

    saved = stack.colleague(organization).connection("sharepoint")
    assert (saved["config"], saved["latest_options"]["sites"][-1]) == ({"sites": ["Sales, EMEA"]}, "Sales, EMEA")
    ada.set_up("sharepoint")
    expect(ada.panel("sharepoint").get_by_label("Sales, EMEA")).to_be_checked()
    expect(ada.on("sharepoint", "options")).not_to_contain_text("no longer found")


def test_each_source_shows_its_own_state_and_the_next_step(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    for type_name in ("confluence", "sharepoint"):
        stack.verified(colleague, type_name)
    for _ in range(RUNS):
        stack.synced(colleague, "confluence")
    colleague.verify(colleague.connection("servicenow"), {"username": "ada", "password": "a-bad-password"})
    colleague.call("PUT", "/api/data-sources/websearch", {})
    colleague.call("PATCH", f"/api/data-sources/{colleague.connection('sharepoint')['id']}", {"config": STALLING})
    colleague.sync(colleague.connection("sharepoint"))

    ada = screen(seeded=False)

    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.on("confluence", "runs").locator("rect")).to_have_count(RUNS)
    expect(ada.on("servicenow", "state")).to_have_text("Verification failed")
    expect(ada.on("servicenow", "primary")).to_have_text("Correct credentials")
    expect(ada.card("sharepoint").locator('[data-state="now"]')).to_contain_text("Running")
    expect(ada.on("sharepoint", "pace")).to_contain_text("0 documents so far")
    expect(ada.on("websearch", "state")).to_have_text("Ready")
    expect(ada.on("websearch", "sync")).to_have_text("Sync now")
    assert ada.violations() == []
    ada.page.set_viewport_size({"width": 1280, "height": 860})
    ada.shoot("page", full_page=False)
    ada.page.set_viewport_size({"width": 390, "height": 844})
    ada.shoot("page-phone", full_page=False)


def test_the_history_shows_runs_with_a_chart_and_who_changed_what(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    ada = screen()
    ada.verified("confluence").first.check()
    ada.save("confluence")
    for _ in range(RUNS):
        stack.synced(colleague, "confluence")
    ada.on("confluence", "sync").click()
    expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
    expect(ada.card("confluence")).to_have_attribute("data-status", "idle")

    ada.on("confluence", "history").click()
    panel = ada.part("history-panel")

    expect(panel.locator('[data-outcome="succeeded"]')).to_have_count(RUNS + 2)
    expect(panel.locator("svg[role=img]")).to_have_count(2)
    expect(panel.locator("rect")).to_have_count(2 * (RUNS + 1))
    expect(panel.locator('[data-outcome="succeeded"]').first).to_contain_text("asked for by ada@acme.example")
    ada.shoot("history", full_page=False)
    panel.get_by_role("tab", name="Changes").click()
    expect(panel.locator('[data-role="changes"] li').first).to_contain_text("The external service finished a sync")
    if RUNS > 2:
        panel.locator('[data-role="changes"] [data-role="more"]').click()
    expect(panel.get_by_text("You changed its settings")).to_be_visible()
    expect(panel.get_by_text("Switched on")).to_be_visible()
    ada.shoot("changes", full_page=False)


def test_who_changed_the_settings_is_named_though_they_asked_for_no_run(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    stack.colleague(organization).call("PUT", "/api/data-sources/confluence", {"name": "Wiki"})
    ada = screen()

    ada.on("confluence", "history").click()
    panel = ada.part("history-panel")
    panel.get_by_role("tab", name="Changes").click()

    expect(panel.locator('[data-role="changes"]')).to_contain_text("ada@example.org created it")


def test_a_long_history_is_read_page_by_page(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    path = f"/api/data-sources/{colleague.seeded()['id']}"
    for number in range(21):
        colleague.call("PATCH", path, {"name": f"Wiki {number}"})
    ada = screen()

    ada.on("confluence", "history").click()
    ada.page.get_by_role("tab", name="Changes").click()
    changes = ada.part("changes")
    expect(changes.locator('[data-role="list"] > li')).to_have_count(20)
    changes.locator('[data-role="more"]').click()

    expect(changes.locator('[data-role="list"] > li')).to_have_count(22)
    expect(changes.locator('[data-role="more"]')).to_be_hidden()
    expect(changes.locator('[data-role="list"] > li').first).to_contain_text("Name: Wiki 19 → Wiki 20")
    expect(changes.locator('[data-role="list"] > li').last).to_contain_text("created it")
