"""The dead-letter queue and the operator's commands on it, over RabbitMQ and over kombu's Redis transport."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner
from kombu import Connection

from app import create_app
from app.config import Settings
from app.extensions import db
from app.outbound.broker import DEAD_LETTER_QUEUE_NAME, declare_durable_queue, open_confirmed_connection
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from devstack.valkey import Valkey
from tests.e2e.service import Service, channel
from tests.letters import bury_reliably

NOT_TEXT = bytes(range(256))


@pytest.fixture(
    params=[
        pytest.param("RabbitMQ", marks=pytest.mark.rabbitmq),
        pytest.param("RabbitMQ, quorum", marks=pytest.mark.rabbitmq),
        "Redis",
    ]
)
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker's address; its dead-letter queue is there, and empty."""
    if request.param.startswith("RabbitMQ"):
        url: str = request.getfixturevalue("rabbitmq_url")
        service = Service(url)
        service.delete(DEAD_LETTER_QUEUE_NAME)
        if request.param.endswith("quorum"):
            # As an earlier release made it where queues are quorum by default.
            with channel(url) as opened:
                opened.queue_declare(
                    DEAD_LETTER_QUEUE_NAME, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
                )
        yield url
        service.delete(DEAD_LETTER_QUEUE_NAME)
        return
    with Valkey(tmp_path / "valkey", keeps=True, environ=os.environ) as valkey:
        yield valkey.url


@pytest.fixture
def origin(broker_url: str) -> Iterator[str]:
    """A queue that letters come from, of this test's own."""
    name = f"origin.{uuid4().hex[:8]}"
    with open_confirmed_connection(broker_url) as connection:
        declare_durable_queue(connection.default_channel, name)
    yield name
    if broker_url.startswith("amqp"):
        Service(broker_url).delete(name)


@pytest.fixture
def operator(settings: Settings, broker_url: str) -> Iterator[FlaskCliRunner]:
    """Somebody at `flask --app app`, whose application is on this broker."""
    made = create_app(settings.model_copy(update={"rabbitmq_url": broker_url, "status_queues": ("unused.default",)}))
    yield made.test_cli_runner()
    with made.app_context():
        db.engine.dispose()


def look(url: str) -> list[DeadLetter]:
    with open_confirmed_connection(url) as connection:
        return DeadLetterQueue(connection).list_oldest(limit=100)


def a_letter(body: bytes, *, queue: str, reason: str = "not_json", detail: str = "why") -> DeadLetter:
    return DeadLetter(body, reason, detail=detail, queue=queue)


def taken(url: str, queue: str) -> list[Any]:
    """Take what a queue holds."""
    messages = []
    with Connection(url) as connection, connection.channel() as channel:
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            messages.append(channel.message_to_python(message) if url.startswith("redis") else message)
    return messages


def test_one_letter_is_shown_whole_by_its_place(operator: FlaskCliRunner, broker_url: str) -> None:
    long = b"x" * 5_000
    bury_reliably(broker_url, [a_letter(b"first", queue="a"), a_letter(long, queue="b", reason="wrong_shape")])

    shown, beyond = (
        operator.invoke(args=["dead-letters", "show", "2"]),
        operator.invoke(args=["dead-letters", "show", "3"]),
    )

    assert shown.exit_code == 0
    assert long.decode() in shown.output
    assert "wrong_shape" in shown.output
    assert (beyond.exit_code, beyond.output) == (1, "Error: The list has 2 dead letters\n")
    assert len(look(broker_url)) == 2


def raw(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def test_a_letter_keeps_its_body_byte_for_byte_with_its_reason_and_its_origin(broker_url: str, origin: str) -> None:
    bury_reliably(broker_url, [a_letter(NOT_TEXT, queue=origin, detail="\u2028 ☃ words")])

    (letter,) = look(broker_url)

    assert (letter.body, letter.reason, letter.queue) == (NOT_TEXT, "not_json", origin)
    assert letter.detail == "\u2028 ☃ words"
    assert letter.died_at.startswith("20")


def test_looking_leaves_every_letter_in_its_place(broker_url: str, origin: str) -> None:
    bodies = [b"%d" % number for number in range(5)]
    bury_reliably(broker_url, [a_letter(body, queue=origin) for body in bodies])

    assert [letter.body for letter in look(broker_url)] == bodies
    assert [letter.body for letter in look(broker_url)] == bodies


def test_no_number_of_looks_uses_a_letter_up(broker_url: str, origin: str) -> None:
    bodies = [b"%d" % number for number in range(5)]
    bury_reliably(broker_url, [a_letter(body, queue=origin) for body in bodies])

    for limit in [2, 100] * 30:
        with open_confirmed_connection(broker_url) as connection:
            DeadLetterQueue(connection).list_oldest(limit=limit)

    assert [letter.body for letter in look(broker_url)] == bodies


def test_a_letter_keeps_the_headers_and_what_else_the_service_said_and_a_replay_gives_them_back(
    broker_url: str, origin: str
) -> None:
    theirs = {"trace": "abc", "attempt": 3}
    letter = replace(a_letter(b"x", queue=origin), headers=theirs, content_type="text/plain", properties={"type": "t"})

    bury_reliably(broker_url, [letter])
    (found,) = look(broker_url)
    with open_confirmed_connection(broker_url) as connection:
        DeadLetterQueue(connection).replay(limit=1, default_queue="unused")

    (replayed,) = taken(broker_url, origin)
    assert (found.headers, found.content_type, found.properties["type"]) == (theirs, "text/plain", "t")
    assert {name: value for name, value in replayed.headers.items() if name in theirs} == theirs


# Whoever may publish to the dead letters has them say any; the last two are no queue's name.
@pytest.mark.rabbitmq
@pytest.mark.parametrize("named", ["no.such.queue", "q" * 256, "amq.rabbitmq.reply-to"])
def test_a_letter_whose_queue_is_gone_stays_and_the_operator_is_told(
    operator: FlaskCliRunner, broker_url: str, origin: str, named: str
) -> None:
    if not broker_url.startswith("amqp"):
        pytest.skip("Redis makes whatever is written to")
    bury_reliably(broker_url, [a_letter(b"gone", queue=named), a_letter(b"there", queue=origin)])

    done = operator.invoke(args=["dead-letters", "replay"])

    assert "Replayed 1" in done.output
    assert named in done.output
    assert [letter.body for letter in look(broker_url)] == [b"gone"]


def test_a_limit_takes_the_oldest(broker_url: str, origin: str) -> None:
    bury_reliably(broker_url, [a_letter(b"%d" % number, queue=origin) for number in range(5)])

    with open_confirmed_connection(broker_url) as connection:
        assert DeadLetterQueue(connection).drop(limit=3) == 3

    assert [letter.body for letter in look(broker_url)] == [b"3", b"4"]


def test_a_replay_puts_each_letter_back_on_its_own_queue_as_the_service_sent_it(broker_url: str, origin: str) -> None:
    nowhere = f"{origin}.default"
    bury_reliably(broker_url, [a_letter(b"first", queue=origin), a_letter(NOT_TEXT, queue=origin)])

    with open_confirmed_connection(broker_url) as connection:
        count = DeadLetterQueue(connection).replay(limit=10, default_queue=nowhere)

    replayed = taken(broker_url, origin)
    assert (count.count, dict(count.unreplayed_by_missing_queue)) == (2, {})
    assert [raw(message.body) for message in replayed] == [b"first", NOT_TEXT]
    assert not any(name.startswith("x-rita") for message in replayed for name in message.headers)


def test_a_detail_is_cut_so_that_the_headers_fit_a_frame(broker_url: str, origin: str) -> None:
    bury_reliably(broker_url, [a_letter(b"x", queue=origin, detail="ü" * 100_000)])

    (letter,) = look(broker_url)

    assert 0 < len(letter.detail) <= 500


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["replay"], ["drop", "--yes"]], ids=" ".join)
def test_a_command_on_an_empty_queue_finds_nothing_and_says_so(operator: FlaskCliRunner, command: list[str]) -> None:
    done = operator.invoke(args=["dead-letters", *command])

    assert done.exit_code == 0, done.output
    assert "0 dead letters" in done.output or command == ["list", "--json"]


def test_a_list_shows_reason_detail_and_body_and_as_json_one_object_a_line(
    operator: FlaskCliRunner, broker_url: str, origin: str
) -> None:
    bury_reliably(
        broker_url, [a_letter(b'{"a": "\xc3\xbc"}', queue=origin, detail="because"), a_letter(b"\xff", queue=origin)]
    )

    for_people = operator.invoke(args=["dead-letters", "list"]).output
    for_programs = [
        json.loads(line) for line in operator.invoke(args=["dead-letters", "list", "--json"]).stdout.splitlines()
    ]

    assert "because" in for_people
    assert '{"a": "ü"}' in for_people
    assert "2 dead letters" in for_people
    assert [(row["reason"], row["queue"]) for row in for_programs] == [("not_json", origin)] * 2
    assert for_programs[0]["body"] == '{"a": "ü"}'


@pytest.mark.rabbitmq
def test_half_a_surrogate_pair_in_a_header_costs_itself_alone(
    operator: FlaskCliRunner, broker_url: str, origin: str
) -> None:
    bury_reliably(broker_url, [replace(a_letter(b"odd", queue=origin), headers={"x\ud800": ["\udc00"]})])

    done = operator.invoke(args=["dead-letters", "list", "--json"])

    assert json.loads(done.output)["headers"] == {"x\ufffd": ["\ufffd"]}


def test_a_drop_asks_first(operator: FlaskCliRunner, broker_url: str, origin: str) -> None:
    bury_reliably(broker_url, [a_letter(b"x", queue=origin)])

    refused = operator.invoke(args=["dead-letters", "drop"], input="n\n")
    assert refused.exit_code != 0
    assert len(look(broker_url)) == 1
    agreed = operator.invoke(args=["dead-letters", "drop"], input="y\n")

    assert "Dropped 1" in agreed.output
