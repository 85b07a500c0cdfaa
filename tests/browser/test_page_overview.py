"""An organization at a glance, and sources that are found, sorted and watched without anything jumping."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.e2e.browser import Person

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]


def figure(person: Screen, name: str) -> str:
    return person.page.locator(f'[data-figure="{name}"] strong').inner_text()


def failing(stack: Stack, colleague: Person) -> None:
    """Let ServiceNow's sync fail."""
    stack.verified(colleague, "servicenow")
    path = f"/api/data-sources/{colleague.connection('servicenow')['id']}"
    colleague.call("PATCH", path, {"config": {"simulate": "fail_sync"}})
    stack.synced(colleague, "servicenow")


def test_it_shows_how_the_sources_are_and_what_the_last_days_brought(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    for _ in range(2):
        stack.synced(colleague, "confluence")
    failing(stack, colleague)
    ada = screen(seeded=False)

    plot = ada.part("overview").locator("svg[role=img]")
    expect(plot.locator("rect.good")).to_have_count(1)
    expect(plot.locator("rect.bad")).to_have_count(1)
    assert (figure(ada, "connected"), figure(ada, "running"), figure(ada, "failing")) == ("2", "0", "1")
    counted = sum(colleague.connection(name)["last_sync_documents"] for name in ("confluence", "servicenow"))
    assert figure(ada, "counted") == f"{counted:,}"
    expect(ada.part("value")).to_have_text("3 syncs in 30 days")
    plot.locator("rect.hover").last.hover()
    expect(ada.part("value")).to_contain_text("2 succeeded, 1 failed; ")
    ada.part("overview").locator("summary").click()
    row = ada.part("overview").locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator("th")).to_contain_text(str(datetime.now(UTC).day))
    assert row.locator("td").all_inner_texts()[:3] == ["2", "1", "0"]
    assert ada.violations() == []
    ada.shoot("overview")
    ada.page.set_viewport_size({"width": 390, "height": 844})
    assert ada.page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    ada.shoot("overview-phone")


def names(person: Screen) -> list[str]:
    return person.page.locator(".card:visible [data-role=name]").all_inner_texts()


def test_several_sources_are_searched_filtered_sorted_and_shown_as_a_table(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    failing(stack, colleague)
    ada = screen(seeded=False)
    expect(ada.part("tools")).to_be_hidden()

    ada.page.get_by_role("button", name="Add Google Drive").click()
    expect(ada.part("tools")).to_be_visible()
    ada.part("tools").get_by_label("In what order").select_option("Failing first")
    assert names(ada)[0] == "ServiceNow"
    ada.part("tools").get_by_label("Search the sources").fill("search")
    assert names(ada) == ["Web Search"]
    ada.part("tools").get_by_label("Search the sources").fill("")
    ada.part("tools").get_by_label("Which sources").select_option("Failing")
    assert names(ada) == ["ServiceNow"]
    ada.part("tools").get_by_label("Which sources").select_option("Running now")
    expect(ada.part("none")).to_be_visible()
    ada.part("tools").get_by_label("Which sources").select_option("All sources")
    ada.part("view").click()

    rows = ada.page.locator("table.sources tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text("Sync failed")
    assert ada.violations() == []
    ada.shoot("table")
    ada.page.reload()
    expect(rows).to_have_count(5)
    ada.page.get_by_role("button", name="Try again: ServiceNow").click()
    expect(ada.page.get_by_role("button", name="Cancel: ServiceNow")).to_be_visible()
    ada.page.get_by_role("link", name="History of ServiceNow").click()
    expect(ada.part("history-panel")).to_be_visible()


def box(person: Screen, role: str = "history") -> tuple[float, ...]:
    """Return where a button of the Confluence card is."""
    found = person.card("confluence").locator(f'[data-role="{role}"]').bounding_box()
    assert found is not None
    return found["x"], found["y"]


def test_nothing_jumps_while_something_runs(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    stack.synced(colleague, "confluence")
    path = f"/api/data-sources/{colleague.connection()['id']}"
    colleague.call("PATCH", path, {"config": {"simulate": "stall"}})
    ada = screen(seeded=False)
    expect(ada.on("confluence", "documents")).to_contain_text("document")
    before = box(ada)[1]

    ada.on("confluence", "sync").click()

    expect(ada.on("confluence", "pace")).to_contain_text("so far")
    expect(ada.on("confluence", "before")).to_contain_text("Last time")
    expect(ada.card("confluence").get_by_role("button", name="Cancel: Confluence")).to_be_visible()
    ada.shoot("running")
    assert box(ada)[1] == before
    heights = {round(each.bounding_box()["height"]) for each in ada.page.locator(".card[data-type]").all()}  # type: ignore[index]
    assert len(heights) == 1


def test_what_runs_tells_its_rate_and_when_it_may_be_done(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    stack.synced(colleague, "confluence")
    path = f"/api/data-sources/{colleague.connection()['id']}"
    colleague.call("PATCH", path, {"config": {"simulate": "long"}})
    ada = screen(seeded=False)

    ada.on("confluence", "sync").click()

    expect(ada.on("confluence", "before")).to_contain_text("left")
    expect(ada.on("confluence", "pace")).to_contain_text(" a second")
    ada.card("confluence").get_by_role("button", name="Cancel: Confluence").click()
    ada.page.get_by_role("button", name="Cancel the sync").click()
    expect(ada.on("confluence", "state")).to_have_text("Sync failed")
