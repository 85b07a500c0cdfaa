"""What docs/client says to whoever reads the stream with an EventSource, done by a browser to the letter."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser

from tests.browser.stack import Stack
from tests.project import PROJECT
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

README = (PROJECT / "docs/client/README.md").read_text()
(FOLLOW,) = (found for found in re.findall("```js\n(.*?)```", README, re.DOTALL) if "new EventSource" in found)


def test_an_event_source_comes_back_with_a_fresh_ticket_after_the_last_event(
    stack: Stack, chromium: Browser, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    path = f"/api/data-sources/{colleague.seeded()['id']}"
    page = chromium.new_page()
    page.goto(stack.address)
    seen: Callable[[], list[Any]] = lambda: page.evaluate("window.seen")  # noqa: E731

    page.evaluate(
        f"([url, token]) => {{ {FOLLOW}; window.seen = [];"
        " follow(url, () => token, (type, data) => window.seen.push(data.name ?? type)); }",
        [stack.processes.base_url, stack.token(organization)],
    )
    eventually(lambda: seen() == ["data_source_snapshot"])
    colleague.call("PATCH", path, {"name": "Wiki"})
    eventually(lambda: seen() == ["data_source_snapshot", "Wiki"])
    stack.processes.children["web"].kill()
    stack.processes.start("web")
    colleague.call("PATCH", path, {"name": "Wiki again"})

    eventually(lambda: seen() == ["data_source_snapshot", "Wiki", "Wiki again"], within=30)
    page.context.close()
