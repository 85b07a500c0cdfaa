"""Several tabs, several people, and connections that come and go: each page shows what the API says."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import Screen, held
from tests.browser.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]


@pytest.fixture
def rename(stack: Stack, organization: UUID) -> Callable[[str], None]:
    """Somebody else renames the organization's Confluence."""

    def do(name: str) -> None:
        colleague = stack.colleague(organization)
        path = f"/api/data-sources/{colleague.connection()['id']}"
        colleague.call("PATCH", path, {"name": name})

    return do


def test_a_change_of_somebody_else_keeps_what_is_being_typed_and_asks(
    screen: SignIn, rename: Callable[[str], None]
) -> None:
    ada = screen()
    ada.set_up("confluence")
    ada.on("confluence", "description-input").fill("Of the engineers")

    rename("Wiki of Max")

    expect(ada.on("confluence", "conflict")).to_contain_text("Somebody else has changed this data source meanwhile")
    expect(ada.on("confluence", "conflict")).to_contain_text("theirs: Wiki of Max")
    expect(ada.on("confluence", "conflict")).to_contain_text("yours: Of the engineers")
    expect(ada.on("confluence", "description-input")).to_have_value("Of the engineers")
    assert ada.violations() == []
    ada.shoot("conflict", full_page=False)
    ada.on("confluence", "take-theirs").click()
    expect(ada.on("confluence", "name-input")).to_have_value("Wiki of Max")
    expect(ada.on("confluence", "conflict")).to_be_hidden()


def test_a_save_over_an_unseen_change_is_held_back_until_it_is_wanted(
    screen: SignIn, rename: Callable[[str], None], stack: Stack, organization: UUID
) -> None:
    # No events come to this page.
    ada = screen(waits=False, routes={"**/api/sse": held})
    ada.set_up("confluence")
    ada.on("confluence", "name-input").fill("Wiki of Ada")
    rename("Wiki of Max")

    ada.on("confluence", "save").click()

    expect(ada.on("confluence", "conflict")).to_contain_text("theirs: Wiki of Max; yours: Wiki of Ada")
    assert stack.colleague(organization).connection()["name"] == "Wiki of Max"
    ada.on("confluence", "keep-mine").click()
    ada.save("confluence")
    assert stack.colleague(organization).connection()["name"] == "Wiki of Ada"
    expect(ada.on("confluence", "name")).to_have_text("Wiki of Ada")


def test_what_happens_without_a_connection_is_there_once_it_is_back(
    screen: SignIn, rename: Callable[[str], None]
) -> None:
    ada = screen()

    ada.page.context.set_offline(True)
    expect(ada.part("live")).to_have_text("Not live")
    expect(ada.part("stale")).to_contain_text("No connection to the server since")
    assert ada.violations() == []
    ada.shoot("offline")
    ada.on("websearch", "primary").click()
    ada.on("websearch", "verify").click()
    expect(ada.on("websearch", "verify-problem")).to_contain_text("You are offline. Nothing was sent")
    ada.page.keyboard.press("Escape")
    rename("Renamed meanwhile")
    ada.page.context.set_offline(False)

    expect(ada.on("confluence", "name")).to_have_text("Renamed meanwhile")
    expect(ada.part("live")).to_have_text("Live")
    expect(ada.part("stale")).to_be_hidden()


def test_a_page_that_was_hidden_or_asleep_is_brought_up_to_date(screen: SignIn, rename: Callable[[str], None]) -> None:
    ada = screen(waits=False, clock=True)
    expect(ada.part("live")).to_have_attribute("data-state", "live")
    ada.hide(hidden=True)
    ada.page.clock.fast_forward(20_000)
    expect(ada.part("live")).to_have_attribute("data-state", "paused")
    rename("Renamed in the dark")

    ada.hide(hidden=False)

    expect(ada.on("confluence", "name")).to_have_text("Renamed in the dark")
    expect(ada.part("live")).to_have_attribute("data-state", "live")


def test_a_crash_of_the_server_is_outlived(screen: SignIn, stack: Stack, rename: Callable[[str], None]) -> None:
    ada = screen()

    stack.processes.children["web"].kill()
    expect(ada.part("live")).not_to_have_text("Live")
    stack.processes.start("web")
    rename("After the crash")

    expect(ada.on("confluence", "name")).to_have_text("After the crash")
    expect(ada.part("live")).to_have_text("Live")


def test_an_event_that_was_overtaken_by_its_successor_does_not_bring_back_what_has_ended(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    ada = screen()
    stack.verified(colleague, "confluence")
    expect(ada.on("confluence", "state")).to_have_text("Ready")
    path = f"/api/data-sources/{colleague.connection()['id']}"
    (operation,) = colleague.call("GET", f"{path}/operations")["data"]
    overtaken = {
        "connectionId": operation["connection_id"],
        "operation_id": operation["id"],
        "change": "verify.delivered",
        "status": "verifying",
        "display": {"state": "verifying", "reason": None, "actor": "service", "action": "wait"},
        "operation": operation | {"state": "delivered"},
    }

    with ada.page.expect_response(f"**{path}"):
        ada.page.evaluate("async (event) => (await import('/console/live/store.js')).take(event)", overtaken)

    expect(ada.on("confluence", "state")).to_have_text("Ready")
    expect(ada.card("confluence")).to_have_attribute("data-status", "idle")


def test_two_people_stay_in_step_and_only_the_admin_switches_off(screen: SignIn) -> None:
    ada = screen()
    max_ = screen(role="member", email="max@acme.example")
    # Before they try.
    expect(max_.part("may")).to_contain_text("To cancel, switch off or remove is for admins")
    expect(ada.part("may")).to_be_hidden()
    ada.set_up("websearch")
    ada.save("websearch")
    expect(max_.on("websearch", "state")).to_have_text("Ready")
    max_.set_up("websearch")
    expect(max_.on("websearch", "switch")).to_have_text(
        "Only an admin of your organization can switch this data source off."
    )
    max_.page.keyboard.press("Escape")

    ada.set_up("websearch")
    ada.on("websearch", "disable").click()
    expect(ada.on("websearch", "enable")).to_be_visible()
    ada.page.keyboard.press("Escape")

    expect(max_.on("websearch", "state")).to_have_text("Switched off")
    max_.on("websearch", "primary").click()
    expect(ada.on("websearch", "state")).to_have_text("Ready")


def test_a_source_of_another_type_is_added_and_removed_for_everybody(screen: SignIn) -> None:
    ada = screen()
    other = screen()

    ada.page.get_by_role("button", name="Add Google Drive").click()
    expect(other.card("gdrive")).to_be_visible()
    expect(other.part("more-sources")).to_be_hidden()
    ada.set_up("gdrive")
    ada.on("gdrive", "remove").click()
    ada.page.locator("dialog.question").get_by_role("button", name="Remove").click()

    expect(ada.card("gdrive")).to_have_count(0)
    expect(other.card("gdrive")).to_have_count(0)
    expect(other.page.get_by_role("button", name="Add Google Drive")).to_be_visible()
