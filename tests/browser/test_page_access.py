"""The page for everybody: by keyboard alone, on a phone, with what a screen reader needs, in the light and the dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Route, expect

from app.api.console import CONSOLE_DIRECTORY
from app.domain import source_types
from devstack import scenarios
from tests.browser.screen import CREDENTIALS, Screen, held

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]


@pytest.mark.rabbitmq
def test_the_whole_way_is_gone_by_keyboard(screen: SignIn) -> None:
    ada = screen()
    keyboard = ada.page.keyboard
    keyboard.press("Tab")
    expect(ada.part("sign-out")).to_be_focused()
    keyboard.press("Tab")
    expect(ada.on("confluence", "primary")).to_be_focused()

    keyboard.press("Enter")
    for name, value in CREDENTIALS["confluence"].items():
        expect(ada.panel("confluence").locator(f'[data-credential="{name}"]')).to_be_focused()
        keyboard.type(value)
        keyboard.press("Tab")
    # Where the last of them is found.
    expect(ada.panel("confluence").get_by_role("link", name="Open that page")).to_be_focused()
    keyboard.press("Tab")
    expect(ada.on("confluence", "verify")).to_be_focused()
    keyboard.press("Enter")
    # Whoever waited there is led on.
    boxes = ada.panel("confluence").locator("[data-option] .boxes input")
    expect(boxes.first).to_be_focused()
    keyboard.press("Space")
    expect(boxes.first).to_be_checked()
    keyboard.press("Escape")
    expect(ada.page.get_by_role("button", name="Stay")).to_be_focused()
    keyboard.press("Escape")
    expect(ada.page.get_by_role("button", name="Close")).to_be_focused()
    ada.on("confluence", "save").focus()
    keyboard.press("Space")

    expect(ada.page.locator("dialog[open]")).to_have_count(0)
    expect(ada.on("confluence", "sync")).to_be_focused()
    keyboard.press("Enter")
    expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
    expect(ada.part("announcements")).to_have_text("Confluence: Synced")


@pytest.mark.rabbitmq
def test_nothing_bars_anybody_from_the_cards_the_settings_and_the_history(screen: SignIn) -> None:
    ada = screen()
    assert ada.violations() == []
    ada.verified("confluence").first.check()
    assert ada.violations() == []
    ada.shoot("settings", full_page=False)
    ada.on("confluence", "save-sync").click()
    expect(ada.card("confluence")).to_have_attribute("data-status", "syncing")
    assert ada.violations() == []
    expect(ada.on("confluence", "state")).to_have_text("Synced")
    ada.on("confluence", "history").click()
    expect(ada.part("history-panel").locator('[data-role="runs"] li').first).to_be_visible()
    assert ada.violations() == []
    ada.page.get_by_role("tab", name="Runs").press("ArrowRight")
    expect(ada.part("changes").locator("li").first).to_be_visible()
    assert ada.violations() == []


@pytest.mark.rabbitmq
@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_everything_without_scrolling_sideways(screen: SignIn, width: int) -> None:
    ada = screen(size=(width, 800))

    def too_wide() -> int:
        return int(ada.page.evaluate("document.scrollingElement.scrollWidth - innerWidth"))

    assert too_wide() <= 0
    ada.shoot(f"phone-{width}")
    ada.set_up("sharepoint")
    assert too_wide() <= 0
    assert ada.page.evaluate("(d => d.scrollWidth - d.clientWidth)(document.querySelector('dialog'))") <= 0
    ada.shoot(f"phone-settings-{width}", full_page=False)


def _with_many_options(route: Route) -> None:
    answer = route.fetch()
    found = answer.json()
    for connection in found["data"]:
        connection["latest_options"] = {"spaces": ",".join(f"Team {number}" for number in range(1, 41))}
    route.fulfill(response=answer, json=found)


@pytest.mark.rabbitmq
def test_many_options_can_be_searched(screen: SignIn) -> None:
    ada = screen(waits=False, routes={"**/api/data-sources": _with_many_options, "**/api/sse": held})
    ada.set_up("confluence")
    group = ada.panel("confluence").locator('[data-option="spaces"]')

    group.get_by_label("Search in Spaces").fill("team 1")
    expect(group.locator("label.check:visible")).to_have_count(11)
    group.get_by_role("button", name="All").click()

    expect(group).to_contain_text("11 of 40 chosen")
    group.get_by_label("Search in Spaces").fill("")
    expect(group.locator("label.check:visible")).to_have_count(40)
    assert ada.violations() == []
    ada.shoot("options", full_page=False)


LONG = [f"Space {number}, of many" for number in range(1, 1_002)]


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("offered", "chosen", "left"),
    [
        (LONG, ["Space 7, of many", "Space 1001, of many"], ["Space 1001, of many"]),
        # Chosen when the service still offered them in a text.
        (LONG, "Space 7, of many, Space 1001, of many", ["Space 1001, of many"]),
        (",".join(f"S{number:08}" for number in range(1_001)), "S00000007,S00001000", "S00001000"),
    ],
    ids=["arrays", "an array, once a text", "texts"],
)
def test_however_many_names_there_are_those_chosen_before_are_among_them(
    screen: SignIn, offered: Any, chosen: Any, left: Any
) -> None:
    def fulfil(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for connection in found["data"]:
            connection |= {"latest_options": {"spaces": offered}, "config": {"spaces": chosen, "depth": 3}}
        route.fulfill(response=answer, json=found)

    ada = screen(waits=False, routes={"**/api/data-sources": fulfil, "**/api/sse": held})
    ada.set_up("confluence")
    group = ada.panel("confluence").locator('[data-option="spaces"]')

    expect(group).to_contain_text("2 of 1001 chosen")
    expect(group).not_to_contain_text("no longer found")
    group.locator(".boxes input:checked").first.uncheck()
    with ada.page.expect_request(lambda request: request.method == "PATCH") as saved:
        ada.on("confluence", "save").click()
    assert saved.value.post_data_json["config"] == {"spaces": left, "depth": 3}


def test_every_type_has_a_picture_of_its_own(web: Flask) -> None:
    icons = {entry.icon for entry in (source_types.SEEDED_TYPES | source_types.OPTIONAL_TYPES).values()} | {"other"}

    for icon in icons:
        answer = web.test_client().get(f"/console/icons/{icon}.svg")
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
        answer.close()
    assert len({(CONSOLE_DIRECTORY / "icons" / f"{icon}.svg").read_text() for icon in icons}) == len(icons)


def test_the_page_lists_the_faults_that_the_stand_in_knows() -> None:
    source = (CONSOLE_DIRECTORY / "dialogs" / "faults.js").read_text()
    listed = re.findall(r"'(\w+)'", source.split("FAULTS = [")[1].split("]")[0])

    assert listed == list(scenarios.load(None).scenarios)
