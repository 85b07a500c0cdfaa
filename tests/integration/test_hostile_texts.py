"""What the external service writes cannot make an operator's terminal show anything but what is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import Result
from flask import Flask

from app import create_app
from app.config import Settings
from app.extensions import db
from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from tests.factories import Browser, a_sync_message, apply_messages, as_owner
from tests.letters import bury_reliably

# Colours, a title, an overwritten line, a forged row, text that runs backwards or is not seen, and 8-bit controls.
HOSTILE = (
    "no\x1b[31;1m \r\x1b]0;title\x07\x08\n0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b  sync  succeeded"
    "\u2028\u202etxet\u2066\u200b\x9b2J\x7f\x85end"
)
Command = Callable[..., Result]


@pytest.fixture
def operation(web: Flask) -> str:
    """An operation whose error, whose requester and whose connection are hostile."""
    ada = Browser(web)
    ada.put("/api/data-sources/websearch", {})
    connection = ada.connection("websearch")
    operation_id = str(ada.post(f"/api/data-sources/{connection['id']}/sync").json["data"]["operation_id"])
    apply_messages(web, a_sync_message(connection, "sync_failed", operation_id=operation_id, error_message=HOSTILE))
    literal = "'" + HOSTILE.replace("'", "''") + "'"
    as_owner(web, f"UPDATE operations SET requested_email = {literal}, last_attempt_error = {literal}")  # noqa: S608
    return operation_id


@pytest.fixture
def letters(settings: Settings) -> Iterator[None]:
    """Three dead letters: hostile in their bodies, in their reason and detail, and in the queue they came from."""
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        DeadLetterQueue(connection).drop(limit=1_000)
    body = HOSTILE.encode()
    bury_reliably(
        settings.rabbitmq_url,
        [
            DeadLetter(body, "not_json", detail="why", queue="data_source_status"),
            DeadLetter(b"{}", HOSTILE, detail=HOSTILE, queue="data_source_status"),
            DeadLetter(b"{}", "not_json", detail="why", queue=HOSTILE, content_type=HOSTILE),
        ],
    )
    yield
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        DeadLetterQueue(connection).drop(limit=1_000)


def assert_harmless(done: Result, *, rows: int | None = None) -> None:
    assert done.exit_code in (0, 1), done.output
    lines = done.output.split("\n")
    assert all(line.isprintable() for line in lines), done.output
    assert not any(line.startswith("0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b") for line in lines)
    if rows is not None:
        assert len(lines) == rows + 1


def test_no_command_on_operations_prints_what_a_terminal_would_obey(web: Flask, operation: str) -> None:
    def command(*words: str) -> Result:
        return web.test_cli_runner().invoke(args=["operations", *words])

    listed = command("list", "--state", "failed")

    assert_harmless(listed, rows=3)
    assert r"no\x1b[31;1m \r" in listed.output
    assert_harmless(command("list", "--state", "failed", "--json"), rows=1)
    assert_harmless(command("show", operation))
    assert_harmless(command("show", operation, "--json"), rows=1)
    assert_harmless(command("end", operation, "--yes"), rows=1)
    assert json.loads(command("show", operation, "--json").output)["error"] == HOSTILE


@pytest.mark.usefixtures("letters")
def test_no_command_on_dead_letters_does_either(web: Flask) -> None:
    def command(*words: str) -> Result:
        return web.test_cli_runner().invoke(args=["dead-letters", *words])

    assert_harmless(command("list"), rows=7)
    assert_harmless(command("list", "--json"), rows=3)
    for number in ("1", "2", "3"):
        assert_harmless(command("show", number))
    assert json.loads(command("list", "--json").output.splitlines()[0])["body"] == HOSTILE


@pytest.mark.usefixtures("operation")
@pytest.mark.parametrize("words", [["organizations"], ["organizations", "--json"], ["doctor"], ["doctor", "--json"]])
def test_nor_do_the_others(settings: Settings, words: list[str]) -> None:
    made = create_app(settings.model_copy(update={"status_queues": (HOSTILE[:40],)}))

    assert_harmless(made.test_cli_runner().invoke(args=words))

    with made.app_context():
        db.engine.dispose()
