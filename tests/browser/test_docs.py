"""The API's page in a real browser, under its own Content-Security-Policy."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.factories import Browser as Person
from tests.serving import serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def address(web: Flask) -> Iterator[str]:
    with serving(web) as address:
        yield address


def test_the_page_shows_every_call_and_loads_nothing_from_elsewhere(
    web: Flask, chromium: Browser, address: str
) -> None:
    document = web.test_client().get("/api/openapi.json").json
    calls = sum(len(item) for item in document["paths"].values())
    page = chromium.new_page(viewport={"width": 1320, "height": 1500})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"{address}/api/docs")

    # The webhooks have blocks of their own.
    expect(page.locator(".opblock")).to_have_count(calls + 2, timeout=30_000)
    expect(page.locator(".info .title")).to_contain_text("Rita Data Sources")
    if os.environ.get("SCREENSHOT"):
        page.screenshot(path=os.environ["SCREENSHOT"], full_page=True)
    page.close()
    assert said == []
    assert all(url.startswith((address, "data:")) for url in asked)


def test_a_call_is_tried_with_a_token(web: Flask, chromium: Browser, address: str) -> None:
    page = chromium.new_page(viewport={"width": 1320, "height": 1500})
    page.set_default_timeout(30_000)
    page.goto(f"{address}/api/docs")
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").fill(Person(web).token)
    page.get_by_label("Apply credentials").first.click()
    page.get_by_role("button", name="Close").first.click()
    seed = page.locator("#operations-Connections-data_sources_seed")
    seed.locator(".opblock-summary").click()
    seed.get_by_role("button", name="Try it out").click()
    seed.get_by_role("button", name="Execute").click()

    expect(seed.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(seed.locator(".live-responses-table")).to_contain_text("Created 4 new data sources")
    page.close()


def test_the_page_allows_no_script_of_its_own_lines_or_of_strangers(web: Flask) -> None:
    answer = web.test_client().get("/api/docs")

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<script>" not in answer.text
    answer.close()


@pytest.mark.parametrize("name", ["index.html", "oauth2-redirect.html", "../__init__.py", "swagger-ui.js", ""])
def test_only_what_the_page_needs_is_served(web: Flask, name: str) -> None:
    assert web.test_client().get(f"/swagger-ui/{name}").status_code == 404
