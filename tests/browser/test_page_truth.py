"""The page says what is so: who must act, what works nevertheless, what was done, and nothing that is over."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.e2e.service import Service
from tests.factories import a_sync_message

pytestmark = [pytest.mark.browser, pytest.mark.rabbitmq, pytest.mark.timeout(300)]
SignIn = Callable[..., Screen]
BAD = {"url": "https://acme.atlassian.net", "email": "ada@acme.example", "api_token": "a-bad-token"}


@pytest.mark.parametrize(
    ("word", "reason", "advice"),
    [
        ("500", "The external service has an error (HTTP 500)", "Verify again when the external service is back."),
        ("400", "does not understand the request (HTTP 400)", "Tell whoever runs Rita or the external service."),
    ],
)
def test_credentials_that_nobody_checked_are_not_called_wrong(
    screen: SignIn, word: str, reason: str, advice: str
) -> None:
    ada = screen()

    ada.verify("confluence", simulate=word)

    problem = ada.on("confluence", "verify-problem")
    expect(problem).to_contain_text(reason)
    expect(problem).to_contain_text(f"Nobody has checked the credentials. {advice}")
    ada.page.keyboard.press("Escape")
    expect(ada.on("confluence", "state")).to_have_text("Not verified")
    expect(ada.on("confluence", "advice")).to_have_text(f"Nobody has checked the credentials. {advice}")
    expect(ada.on("confluence", "primary")).to_have_text("Verify again")
    ada.shoot(f"not-verified-{word}")


def test_a_healthy_source_stays_so_when_new_credentials_are_refused(
    screen: SignIn, stack: Stack, organization: UUID
) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    colleague.verify(colleague.connection(), BAD)
    ada = screen(seeded=False)

    expect(ada.on("confluence", "note")).to_have_text(
        "The new credentials were refused: Confluence refused the API token (401). Those in use before still are."
    )
    expect(ada.on("confluence", "state")).to_have_text("Ready")
    ada.shoot("still-healthy")
    ada.on("confluence", "sync").click()

    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.on("confluence", "note")).to_be_hidden()


def test_a_sync_that_may_want_new_credentials_leads_to_them(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    colleague.call("PATCH", f"/api/data-sources/{colleague.connection()['id']}", {"config": {"simulate": "fail_sync"}})
    stack.synced(colleague, "confluence")
    ada = screen(seeded=False)

    expect(ada.on("confluence", "sync")).to_have_text("Try again")
    ada.card("confluence").get_by_role("button", name="Verify again").click()

    expect(ada.panel("confluence").locator('[data-credential="url"]')).to_be_focused()


def test_nothing_is_said_to_come_that_does_not(screen: SignIn) -> None:
    ada = screen()
    ada.set_up("confluence")
    expect(ada.on("confluence", "options")).to_have_text(
        "What can be chosen appears here once the credentials are verified."
    )

    ada.verify("confluence", simulate="no_options")

    expect(ada.on("confluence", "verified")).to_contain_text("Verified")
    expect(ada.on("confluence", "options")).to_contain_text("The source offered nothing to choose from")
    expect(ada.on("confluence", "choose")).to_have_text("2. Settings")
    ada.rehearse("confluence", "")
    ada.on("confluence", "save-sync").click()
    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.part("toasts")).to_contain_text("Confluence is saved.")
    expect(ada.part("toasts")).not_to_contain_text("asked for")


def test_what_is_left_of_the_time_begins_with_all_of_it(screen: SignIn) -> None:
    ada = screen()

    ada.verify("confluence", simulate="silence")

    # The deadline of the tests is 20 s; a second that has begun counts whole.
    clock = ada.on("confluence", "credentials").locator('[data-role="clock"]')
    expect(clock).to_have_text(re.compile(r"Asked 0 s ago; an answer is due within 20 s"))


def test_what_could_not_be_sent_is_forgotten_once_the_server_is_back(screen: SignIn, stack: Stack) -> None:
    ada = screen()
    stack.verified(stack.colleague(ada.organization), "confluence")
    expect(ada.on("confluence", "sync")).to_be_visible()
    ada.page.context.set_offline(True)
    ada.on("confluence", "sync").click()
    expect(ada.on("confluence", "refusal")).to_contain_text("You are offline")

    ada.page.context.set_offline(False)

    expect(ada.part("live")).to_have_text("Live")
    expect(ada.on("confluence", "refusal")).to_be_hidden()


def test_only_what_was_touched_is_sent(screen: SignIn, stack: Stack, organization: UUID) -> None:
    colleague = stack.colleague(organization)
    colleague.seeded()
    config = {"folderId": {"of": "another program"}, "recursive": "yes", "depth": 3, "labels": ["a", "b,c"]}
    colleague.call("POST", "/api/data-sources", {"type": "gdrive", "config": config})
    ada = screen(seeded=False)
    ada.set_up("gdrive")
    ada.on("gdrive", "description-input").fill("The handbook")

    with ada.page.expect_request(lambda request: request.method == "PATCH") as saved:
        ada.on("gdrive", "save").click()

    assert saved.value.post_data_json == {"description": "The handbook", "enabled": True}
    expect(ada.page.locator("dialog[open]")).to_have_count(0)
    assert colleague.connection("gdrive")["config"] == config
    ada.set_up("gdrive")
    ada.on("gdrive", "config").get_by_label("With subfolders").check()
    with ada.page.expect_request(lambda request: request.method == "PATCH") as saved:
        ada.on("gdrive", "save").click()
    assert saved.value.post_data_json == {"config": config | {"recursive": True}}


def test_an_answer_after_somebody_gave_up_is_told_on_the_card(
    screen: SignIn, stack: Stack, organization: UUID, rabbitmq_url: str
) -> None:
    colleague = stack.colleague(organization)
    stack.verified(colleague, "confluence")
    connection = colleague.connection()
    colleague.call("PATCH", f"/api/data-sources/{connection['id']}", {"config": {"simulate": "silence"}})
    operation = colleague.sync(connection)["data"]["operation_id"]
    colleague.call("POST", f"/api/operations/{operation}/end")
    ada = screen(seeded=False)
    expect(ada.on("confluence", "state")).to_have_text("Sync failed")
    expect(ada.on("confluence", "advice")).to_have_text("An answer that still comes is taken.")

    Service(rabbitmq_url).send(a_sync_message(connection, operation_id=operation, documents_processed=12))

    expect(ada.on("confluence", "state")).to_have_text("Synced")
    expect(ada.on("confluence", "note")).to_contain_text("came after Rita had stopped waiting for it")
    ada.on("confluence", "history").click()
    ada.part("history-panel").locator('[data-role="details"]').first.click()
    reports = ada.part("run-panel").get_by_role("group", name="Reports").locator("tbody tr")
    expect(reports.last).to_contain_text("the end, after Rita had stopped waiting")
