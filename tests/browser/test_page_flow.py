"""The page as people use it: from an empty organization to a synced source, and what it shows of the past."""

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


def test_an_empty_organization_gets_to_a_synced_source(screen: SignIn) -> None:
    ada = screen(seeded=False, waits=False)
    ada.part("seed").click()
    expect(ada.page.locator(".card:visible")).to_have_count(4)
    expect(ada.on("confluence", "state")).to_have_text("Not set up yet")

    ada.on("confluence", "primary").click()
    options = ada.verified("confluence")
    options.first.check()
    ada.save("confluence")
    expect(ada.on("confluence", "state")).to_have_text("Ready for its first sync")
    ada.on("confluence", "sync").click()

    expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
    expect(ada.on("confluence", "documents")).to_contain_text("document")
    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.on("confluence", "last-sync")).to_contain_text("Sync completed")
    expect(ada.on("confluence", "last-sync").locator("time")).to_have_attribute("datetime", re.compile(r"^\d{4}-"))
    expect(ada.on("confluence", "last-sync").locator("time")).to_have_attribute("title", re.compile(r"\d\d:\d\d"))
    expect(ada.on("confluence", "documents")).to_have_text(re.compile(r"^\d+ documents$"))
    assert "token" not in ada.page.url
    ada.shoot("page")


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


def test_the_history_shows_runs_with_a_chart_and_who_changed_what(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    ada = screen()
    ada.verified("confluence").first.check()
    ada.save("confluence")
    for _ in range(3):
        ada.on("confluence", "sync").click()
        expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
        expect(ada.card("confluence")).to_have_attribute("data-status", "idle")

    ada.on("confluence", "history").click()
    panel = ada.part("history-panel")

    expect(panel.locator('[data-outcome="succeeded"]')).to_have_count(4)
    expect(panel.locator("svg[role=img]")).to_have_count(2)
    expect(panel.locator("rect")).to_have_count(6)
    expect(panel.locator('[data-outcome="succeeded"]').first).to_contain_text("asked for by ada@acme.example")
    ada.shoot("history", full_page=False)
    panel.get_by_role("tab", name="Changes").click()
    expect(panel.locator('[data-role="changes"] li').first).to_contain_text("The external service finished a sync")
    expect(panel.get_by_text("You changed its settings")).to_be_visible()
    expect(panel.get_by_text("Enabled: no → yes")).to_be_visible()
    ada.shoot("changes", full_page=False)
