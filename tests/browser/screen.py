"""One person's page, and what people do on it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import axe_playwright_python
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.stack import Stack

# The machine may be busy with other things.
PATIENCE = 30_000
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
CREDENTIALS = {
    "confluence": {"url": "https://acme.atlassian.net", "email": "ada@acme.example", "api_token": "a-good-token"},
    "servicenow": {"url": "https://acme.service-now.com", "username": "ada", "password": "hunter2"},
    "sharepoint": {"tenant_id": "t", "client_id": "c", "client_secret": "s"},
}
# What a browser says by itself of answers that are no success.
REFUSED_BY_SERVER = "Failed to load resource"

HIDE = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true })"

# Whichever button leads to the settings.
SET_UP = '[data-role="configure"]:visible, [data-does="set-up"]:visible'

expect.set_options(timeout=PATIENCE)


@dataclass(kw_only=True)
class Screen:
    """A page, signed in with a token, or as this person of the organization."""

    chromium: Browser
    stack: Stack
    organization: UUID
    token: str | None = None
    email: str = "ada@acme.example"
    role: str = "admin"
    size: tuple[int, int] = (1280, 900)
    # Whether the page gets as far as to show cards, live.
    waits: bool = True
    # Whether it is opened behind others, as a browser that starts again does with all but one.
    hidden: bool = False
    # Whether its clock can be moved.
    clock: bool = False
    routes: Mapping[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list, init=False)
    requested: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        width, height = self.size
        context = self.chromium.new_context(
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            # That of a test's own proxy.
            ignore_https_errors=self.stack.address.startswith("https:"),
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._heard(message.text))
        self.page.on("request", lambda request: self.requested.append(request.url))
        for pattern, act in self.routes.items():
            self.page.route(pattern, act)
        if self.hidden:
            self.page.add_init_script(HIDE % "true")
        if self.clock:
            self.page.clock.install()
        token = self.token
        if token is None:
            token = self.stack.token(self.organization, email=self.email, role=self.role)
        self.page.goto(f"{self.stack.address}#token={token}" if token else self.stack.address)
        if self.waits:
            self.card("confluence").wait_for()
            expect(self.part("live")).to_have_attribute("data-state", "live")

    def _heard(self, text: str) -> None:
        if not text.startswith(REFUSED_BY_SERVER):
            self.complaints.append(text)

    def part(self, role: str) -> Locator:
        return self.page.locator(f'[data-role="{role}"]')

    def card(self, type_name: str) -> Locator:
        return self.page.locator(f'.card[data-type="{type_name}"]')

    def panel(self, type_name: str) -> Locator:
        """Return the settings of a source, while they are open."""
        return self.page.locator(f'dialog[data-of="{type_name}"]')

    def on(self, type_name: str, role: str) -> Locator:
        """Return what plays a role on a card, or in its settings."""
        of_both = (f'.card[data-type="{type_name}"]', f'dialog[data-of="{type_name}"]')
        return self.page.locator(", ".join(f'{each} [data-role="{role}"]' for each in of_both))

    def set_up(self, type_name: str) -> None:
        self.card(type_name).locator(SET_UP).first.click()
        self.page.locator("dialog[open]").wait_for()

    def verify(self, type_name: str, *, simulate: str = "", **changes: str) -> None:
        if not self.page.locator("dialog[open]").count():
            self.set_up(type_name)
        if simulate:
            self.on(type_name, "settings").locator("summary").click()
            self.rehearse(type_name, simulate)
        for name, value in (CREDENTIALS[type_name] | changes).items():
            self.panel(type_name).locator(f'[data-credential="{name}"]').fill(value)
        self.on(type_name, "verify").click()

    def rehearse(self, type_name: str, words: str) -> None:
        """Tick these faults and no others; their list is open."""
        boxes = self.on(type_name, "faults").locator(".boxes")
        while boxes.locator("input:checked").count():
            boxes.locator("input:checked").first.uncheck()
        for word in filter(None, words.split(",")):
            boxes.locator(f'input[value="{word}"]').check()

    def verified(self, type_name: str) -> Locator:
        self.verify(type_name)
        options = self.on(type_name, "options").locator("[data-option] .boxes input")
        options.first.wait_for()
        return options

    def save(self, type_name: str) -> None:
        self.on(type_name, "save").click()
        expect(self.page.locator("dialog[open]")).to_have_count(0)

    def hide(self, *, hidden: bool) -> None:
        """Tell the page that nobody sees it, or that somebody does again."""
        self.page.evaluate(HIDE % json.dumps(hidden))
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def violations(self) -> list[str]:
        """Return what axe finds wrong, in the light and in the dark."""
        # Through the debugger's protocol, which a page's policy does not bind.
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE)
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            # Of the dark, only the colours differ.
            rules = "{runOnly: ['color-contrast']}" if scheme == "dark" else "{}"
            result = self.page.evaluate(f"() => axe.run(document, {rules})")
            found += [
                f"{scheme}: {rule['id']}: {node['target']} {node['failureSummary']}"
                for rule in result["violations"]
                for node in rule["nodes"]
            ]
        self.page.emulate_media(color_scheme="light")
        return found

    def shoot(self, name: str, *, full_page: bool = True) -> None:
        """Take pictures in the light and in the dark, where SCREENSHOTS names a directory."""
        if directory := os.environ.get("SCREENSHOTS"):
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                self.page.screenshot(path=Path(directory) / f"{name}-{scheme}.png", full_page=full_page)
            self.page.emulate_media(color_scheme="light")


def held(route: Route) -> None:
    """Leave a request without an answer."""


def broken(route: Route) -> None:
    problem = {
        "error": "Service unavailable",
        "message": "The database does not answer; nothing was changed, try again",
        "code": "service_unavailable",
        "request_id": "the-request",
    }
    route.fulfill(status=503, content_type="application/json", body=json.dumps(problem))
