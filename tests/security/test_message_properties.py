"""What a message says of itself, beside its body: whatever it is, it costs itself alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import amqp
import pytest
from flask import Flask
from kombu import Message

from app.outbound.broker import REPUBLISH_COUNT_HEADER, copy_for_republish
from app.outbound.dead_letters import DeadLetter
from app.outbound.message_properties import drop_unreadable_properties
from tests.e2e.service import STATUS, Service, channel
from tests.status_worker import consuming
from tests.waiting import eventually

SAID: dict[str, Any] = {
    "content_type": "text/plain",
    "message_id": "m",
    "app_id": "a",
    "timestamp": 2**40,
    "priority": 3,
}


def nested(depth: int) -> dict[str, Any]:
    return {"inner": nested(depth - 1)} if depth else {}


def a_header_frame(**properties: Any) -> bytes:
    return struct.pack(">HHQ", 60, 0, 7) + amqp.Message("", **properties)._serialize_properties()  # noqa: SLF001 - the bytes


def read_back(frame: bytes) -> dict[str, Any]:
    message = amqp.Message()
    message.inbound_header(frame)
    return dict(message.properties)


def test_what_can_be_read_is_kept_as_it_was_sent() -> None:
    frame = a_header_frame(**SAID, application_headers={"x": [1, {"y": "z"}], "deep": nested(15)})

    assert drop_unreadable_properties(frame) == (frame, [])


def test_of_the_rest_its_name_is_told_and_nothing_else_is_lost() -> None:
    kept, left_out = drop_unreadable_properties(a_header_frame(**SAID, application_headers=nested(25)))

    assert left_out == ["application_headers"]
    assert read_back(kept) == SAID


def test_a_count_that_a_publisher_made_up_does_not_grow_beyond_what_fits_a_header() -> None:
    assert (
        copy_for_republish(Message(b"", headers={REPUBLISH_COUNT_HEADER: 2**40}), queue="q").headers[
            REPUBLISH_COUNT_HEADER
        ]
        == 1
    )
    assert (
        copy_for_republish(Message(b"", headers={REPUBLISH_COUNT_HEADER: 4}), queue="q").headers[REPUBLISH_COUNT_HEADER]
        == 5
    )


@pytest.fixture
def service(celery_module: ModuleType, rabbitmq_url: str, app: Flask) -> Iterator[Service]:
    """The external service's queue, with a worker of this process bound to it."""
    assert app
    with consuming(celery_module, rabbitmq_url) as made:
        yield made


@pytest.mark.rabbitmq
def test_the_status_worker_reads_and_buries_a_message_without_the_headers_that_cannot_be_read(
    service: Service, letters: Callable[[], list[DeadLetter]]
) -> None:
    odd = amqp.Message("not JSON", content_type="text/plain", message_id="m", application_headers=nested(25))

    with channel(service.url) as opened:
        opened.basic_publish(odd, routing_key=STATUS)
    (letter,) = eventually(letters)

    assert (letter.body, letter.reason, letter.content_type) == (b"not JSON", "not_json", "text/plain")
    assert (letter.headers, letter.properties["message_id"]) == ({}, "m")


@pytest.mark.rabbitmq
@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_a_dead_letter_goes_nowhere_else_whomever_its_message_was_copied_to(
    service: Service, letters: Callable[[], list[DeadLetter]], header: str
) -> None:
    service.send_raw("not JSON", headers={header: [STATUS], "x": "kept"})
    eventually(letters)
    service.send_raw("still not JSON")
    first, second = eventually(lambda: found if len(found := letters()) > 1 else None)

    assert (first.body, first.headers) == (b"not JSON", {"x": "kept"})
    assert second.body == b"still not JSON"
