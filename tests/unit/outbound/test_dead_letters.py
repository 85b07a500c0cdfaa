"""A dead letter keeps what the service said beside the body, as far as there is room for it."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Message

from app.domain.status_messages import MessageRefused
from app.outbound.dead_letters import MAX_HEADERS_BYTES, DeadLetter


@pytest.mark.parametrize("first", [True, False], ids=["comes first", "comes last"])
def test_a_header_that_is_too_large_is_left_out_and_no_other(*, first: bool) -> None:
    small: dict[str, Any] = {"trace": "abc", "attempt": 2}
    large = {"stack": "x" * MAX_HEADERS_BYTES}
    message = Message(body=b"{", headers=large | small if first else small | large)

    letter = DeadLetter.from_refused_message(message, MessageRefused("not_json", ""), queue="data_source_status")

    assert letter.headers == small


def test_all_headers_together_are_bounded() -> None:
    message = Message(body=b"{", headers={str(number): "x" * 1_000 for number in range(50)})

    letter = DeadLetter.from_refused_message(message, MessageRefused("not_json", ""), queue="data_source_status")

    assert 10 < len(letter.headers) < 17
