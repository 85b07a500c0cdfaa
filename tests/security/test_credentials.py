"""A credential through every path that a verification can take: it is in the POST, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.api.request_bodies import VerifyBody
from app.config import Settings
from app.outbound import webhook
from app.outbound.dead_letters import DeadLetter
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.tasks.conftest import Job, Sql
from tests.receiver import Receiver
from tests.security.canary import DELIVER, EXPIRE, PATH, Canary, Run
from tests.waiting import eventually


def test_a_verification_that_goes_well_leaves_it_with_the_external_service_alone(
    canary: Canary, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, apply: Callable[..., Any]
) -> None:
    pressed = canary.press()
    assert pressed.status_code == 200
    assert len(canary.sealed()) == 1
    assert canary.found() == []
    jobs = take_jobs()

    run(DELIVER, pressed.json["operation_id"])
    apply(a_verification_message(canary.browser.connection(), options={"spaces": "ENG"}))

    assert receiver.received[0].json["credentials"] == canary.body["credentials"]
    assert receiver.received[0].json["settings"] == canary.body["settings"]
    assert len(jobs) == 1
    assert canary.found(jobs=[repr(jobs)], headers=[repr(receiver.received[0].headers)]) == []
    assert canary.sealed() == []


def test_the_places_of_these_tests_would_show_it(canary: Canary, redis: Redis) -> None:
    logging.getLogger("requests").debug("sent %s", canary.word)
    canary.browser.patch(f"{PATH}/{canary.connection}", {"description": canary.word})
    redis.set("security.test", canary.word, px=5_000)
    canary.heard.append(canary.word)

    places = {place for place, _ in canary.found()}

    assert places >= {"log", "redis", "answers", "data_source_connections", "audit_logs"}


REFUSED: dict[str, tuple[int, Callable[[Canary], Any]]] = {
    "no JSON": (
        400,
        lambda c: c.press(data=f'{{"credentials": {{"api_token": "{c.word}"', content_type="application/json"),
    ),
    "not declared": (415, lambda c: c.press(data=f'{{"credentials": "{c.word}"}}', content_type="text/plain")),
    "too large": (413, lambda c: c.press(data=f'"{c.word * 10_000}"', content_type="application/json")),
    "unknown key": (422, lambda c: c.press(body=c.body | {"bogus": c.word})),
    "no object": (422, lambda c: c.press(body=[c.word])),
    "credentials of no shape": (422, lambda c: c.press(body={"credentials": {"word": c.word}})),
    "credentials that nest": (422, lambda c: c.press(body={"credentials": {"api_token": {"x": c.word}}})),
    "credentials that are a text": (422, lambda c: c.press(body={"credentials": c.word})),
    "settings that are a text": (422, lambda c: c.press(body=c.body | {"settings": c.word})),
    "settings with a NUL": (422, lambda c: c.press(body=c.body | {"settings": {"x": f"{c.word}\x00"}})),
    "settings too deep": (422, lambda c: c.press(body=c.body | {"settings": {"x": nested_deep(c.word)}})),
    "no such connection": (404, lambda c: c.press(connection=str(uuid4()))),
    "no id": (404, lambda c: c.press(connection="confluence")),
    "another path": (404, lambda c: c.browser.post(f"{PATH}/{c.connection}/verify/now", c.body)),
    "another method": (405, lambda c: c.browser.put(f"{PATH}/{c.connection}/verify", c.body)),
    "sent to configure": (422, lambda c: c.browser.patch(f"{PATH}/{c.connection}", {"config": c.body["credentials"]})),
    "sent to create": (422, lambda c: c.browser.put(f"{PATH}/jira", {"config": c.body["credentials"]})),
    "sent to sync": (422, lambda c: c.browser.post(f"{PATH}/{c.connection}/sync", c.body)),
    "without a token": (401, lambda c: c.press(headers={"Authorization": ""}, json=c.body)),
    "as a token": (401, lambda c: c.press(headers={"Authorization": f"Bearer {c.word}"}, json=c.body)),
}


def nested_deep(word: str) -> Any:
    nested: Any = word
    for _ in range(30):
        nested = [nested]
    return nested


@pytest.mark.parametrize("way", REFUSED)
def test_a_request_that_is_refused_leaves_it_nowhere(canary: Canary, way: str) -> None:
    status, send = REFUSED[way]

    refused = send(canary)

    canary.heard.append(refused.text)
    assert refused.status_code == status
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_second_press_leaves_only_the_seal_of_the_first(canary: Canary) -> None:
    canary.press()

    refused = canary.press()

    assert refused.status_code == 409
    assert len(canary.sealed()) == 1
    assert canary.found() == []


def test_what_expires_leaves_no_seal(canary: Canary, run: Run, sql: Sql) -> None:
    operation_id = canary.press().json["operation_id"]
    sql("UPDATE operations SET deadline_at = %(at)s", at=datetime.now(UTC) - timedelta(seconds=1))

    run(EXPIRE)

    (row,) = sql("SELECT state FROM operations WHERE id = %(id)s", id=operation_id)
    assert row["state"] == "expired"
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_sync_by_force_destroys_the_seal_of_what_it_replaces(canary: Canary, apply: Callable[..., Any]) -> None:
    connection = canary.browser.connection()
    canary.browser.patch(f"{PATH}/{canary.connection}", {"enabled": True})
    canary.press()
    apply(a_verification_message(connection))
    canary.press()
    assert len(canary.sealed()) == 1

    forced = canary.browser.post(f"{PATH}/{canary.connection}/sync", {"force": True})

    assert forced.status_code == 200
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_connection_that_is_deleted_takes_its_seal_along(canary: Canary) -> None:
    jira = canary.browser.put(f"{PATH}/jira", {}).json["data"]["id"]
    canary.press(connection=jira)
    assert len(canary.sealed()) == 1

    assert canary.browser.delete(f"{PATH}/{jira}").status_code == 200

    assert canary.sealed() == []
    assert canary.found() == []


def test_a_seal_nobody_comes_for_is_gone_after_its_time(canary: Canary, another_app: Callable[..., Flask]) -> None:
    brief = another_app(verify_deadline_seconds="0.5", log_level="DEBUG")

    canary.press(Browser(brief, organization_id=canary.browser.organization_id))

    assert len(canary.sealed()) == 1
    eventually(lambda: canary.sealed() == [])
    assert canary.found() == []


def test_a_message_that_repeats_it_is_kept_as_it_was_sent_and_logged_nowhere(
    canary: Canary, apply: Callable[..., list[DeadLetter]]
) -> None:
    connection, word = canary.browser.connection(), canary.word
    sent = [
        f"{word} is no JSON",
        f'{{"type": "{word}"}}',
        f'["{word}"]',
        a_sync_message(connection, word),
        a_sync_message(connection, connection_id=word),
        a_sync_message(connection, operation_id=str(uuid4()), error_message=word),
        a_verification_message(connection, options={"spaces": {"names": word}}),
        a_sync_message(connection, connection_id=str(uuid4()), error_message=word),
    ]

    letters = apply(*sent)

    assert len(letters) == len(sent)
    assert all(word in letter.body.decode() for letter in letters)
    assert [letter for letter in letters if word in f"{letter.reason} {letter.detail} {letter.queue}"] == []
    assert canary.found() == []


def test_what_carries_it_does_not_show_it() -> None:
    word = f"canary{uuid4().hex}"
    sent = VerifyBody.model_validate({"credentials": {"api_token": word}, "settings": {"note": word}})

    assert [text for text in (repr(sent), str(sent), f"{[sent]}") if word in text] == []


def test_neither_the_settings_nor_the_target_show_their_secrets(settings: Settings) -> None:
    secrets = [settings.automation_auth, *settings.webhook_signing_secret, settings.jwt_secret, *settings.seal_keys]
    urls = [settings.database_url, settings.owner_database_url, settings.rabbitmq_url, settings.redis_url]
    target = webhook.WebhookTarget.from_settings(settings)

    shown = f"{settings!r} {settings} {target!r} {target}"

    assert [secret for secret in [*secrets, *urls] if secret and secret in shown] == []
    assert "Settings" in shown
    assert settings.automation_webhook_url in shown
