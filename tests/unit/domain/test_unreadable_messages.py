"""What an answer is about that cannot be read: told from its bytes where it is plain, and guessed at nowhere."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from app.domain.status_messages import MAX_BODY_BYTES, MessageRefused, parse_report
from app.domain.unreadable_messages import UnreadableMessage, identify_unreadable_message

CONNECTION, TENANT, OPERATION = UUID(int=1), UUID(int=2), UUID(int=3)
NAMED = UnreadableMessage(CONNECTION, TENANT, OPERATION)
SYNC = {
    "connection_id": str(CONNECTION),
    "tenant_id": str(TENANT),
    "type": "sync",
    "status": "sync_completed",
    "timestamp": "2026-11-22T12:00:00Z",
}
ANSWER = SYNC | {"operation_id": str(OPERATION)}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ANSWER).encode(),
        json.dumps(ANSWER).encode()[:-1],
        json.dumps(ANSWER | {"error_message": "ü"}, ensure_ascii=False).encode("latin-1"),
        json.dumps(ANSWER).encode("utf-16"),
        json.dumps({"pattern": "x", "data": ANSWER}, indent=2).encode(),
        json.dumps(json.dumps(ANSWER)).encode(),
        json.dumps(json.dumps(json.dumps(ANSWER))).encode(),
        json.dumps({"connectionId": str(CONNECTION), "tenantId": str(TENANT), "operationId": str(OPERATION)}).encode(),
        json.dumps({key: value.upper() for key, value in ANSWER.items()}).encode(),
        json.dumps(ANSWER | {"data": ANSWER}).encode(),
        json.dumps(ANSWER | {"options": "x" * MAX_BODY_BYTES}).encode(),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_an_answer_is_about_can_be_told_though_it_cannot_be_read(body: bytes) -> None:
    assert identify_unreadable_message(body) == NAMED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        json.dumps(SYNC).encode(),
        json.dumps(ANSWER | {"data": {"operation_id": str(UUID(int=4))}}).encode(),
        json.dumps(ANSWER | {"operation_id": "-" * 32}).encode(),
        json.dumps(ANSWER | {"operation_id": 3}).encode(),
        b"\\" * 100_000,
        b'"operation_id' + b" " * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_an_answer_is_about_is_not_guessed_at(body: bytes) -> None:
    assert identify_unreadable_message(body) is None


def test_what_stands_for_such_a_body_is_refused_and_says_the_same() -> None:
    with pytest.raises(MessageRefused):
        parse_report(NAMED.placeholder_body(), queue_name="data_source_status")

    assert identify_unreadable_message(NAMED.placeholder_body().encode()) == NAMED
