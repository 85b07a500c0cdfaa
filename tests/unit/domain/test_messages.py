"""From raw bytes to a report, or a reason why not. Messages here are CONTRACT's section 5, and everything else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain.messages import (
    LONGEST_BODY,
    LONGEST_TEXT,
    Report,
    SyncReport,
    Unacceptable,
    VerificationReport,
    parse,
    text_of,
)

CONNECTION, TENANT = UUID(int=1), UUID(int=2)
ADDRESS = {"connection_id": str(CONNECTION), "tenant_id": str(TENANT)}
SYNC = ADDRESS | {"type": "sync", "status": "sync_completed", "timestamp": "2026-11-22T12:00:00Z"}
VERIFICATION = ADDRESS | {"type": "verification", "status": "success", "options": {"spaces": "A,B"}, "error": None}


def read(message: Any, *, queue: str = "data_source_status") -> Report:
    return parse(text_of(message if isinstance(message, bytes) else json.dumps(message)), queue=queue)


def refusal_of(message: Any) -> Unacceptable:
    with pytest.raises(Unacceptable) as refusal:
        read(message)
    return refusal.value


def with_raw(message: dict[str, Any], name: str, literal: str) -> bytes:
    """Return a message with one more key whose value is written as given."""
    return (json.dumps(message)[:-1] + f', "{name}": {literal}}}').encode()


def test_a_sync_message_becomes_a_sync_report() -> None:
    report = read(SYNC | {"status": "sync_failed", "error_message": "disk full", "documents_processed": 3})

    assert isinstance(report, SyncReport)
    assert (report.connection_id, report.tenant_id, report.operation_id) == (CONNECTION, TENANT, None)
    assert (report.kind, report.trigger, report.error) == ("sync", "failed", "disk full")
    assert report.documents_processed == 3
    assert report.timestamp == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_verification_message_becomes_a_verification_report() -> None:
    report = read(VERIFICATION | {"operation_id": str(UUID(int=3))})

    assert isinstance(report, VerificationReport)
    assert (report.kind, report.trigger, report.error) == ("verify", "succeeded", None)
    assert report.options == {"spaces": "A,B"}
    assert report.operation_id == UUID(int=3)


@pytest.mark.parametrize(
    ("status", "trigger"),
    [("sync_started", "started"), ("sync_completed", "succeeded"), ("sync_failed", "failed")],
)
def test_each_sync_status_pulls_its_trigger(status: str, trigger: str) -> None:
    assert read(SYNC | {"status": status}).trigger == trigger


@pytest.mark.parametrize(
    "extra",
    [
        {"surprise": 1},
        {"task": "webhooks.deliver", "id": "x", "args": [], "kwargs": {}},
        {"trigger": "failed", "error": "not this one"},
        {"kind": "full"},
        {"extra": {"nested": [{"deep": None}]}},
    ],
)
def test_keys_that_the_contract_does_not_name_are_ignored(extra: dict[str, Any]) -> None:
    assert read(SYNC | extra) == read(SYNC)


@pytest.mark.parametrize(
    "extra",
    [
        {"surprise": 1},
        {"timestamp": "2026-11-22T12:00:00Z"},
        {"documents_processed": 7},
        {"error_message": "not this one"},
        {"kind": "full"},
    ],
)
def test_a_verification_ignores_the_keys_that_only_a_sync_has(extra: dict[str, Any]) -> None:
    assert read(VERIFICATION | extra) == read(VERIFICATION)


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    assert read(with_raw(SYNC, "status", '"sync_failed"')).trigger == "failed"


def test_nul_which_postgresql_cannot_store_is_replaced() -> None:
    sync = read(SYNC | {"status": "sync_failed", "error_message": "a\x00b"})
    verification = read(VERIFICATION | {"options": {"spa\x00ces": "A\x00"}})

    assert sync.error == "a\ufffdb"
    assert verification.options == {"spa\ufffdces": "A\ufffd"}


def test_an_error_text_is_cut_at_what_people_read() -> None:
    report = read(SYNC | {"status": "sync_failed", "error_message": "x" * (LONGEST_TEXT + 1)})

    assert report.error == "x" * LONGEST_TEXT


def test_a_moment_without_a_zone_is_utc() -> None:
    assert read(SYNC | {"timestamp": "2026-11-22T12:00:00"}).timestamp == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_moment_with_a_zone_is_brought_to_utc() -> None:
    report = read(SYNC | {"timestamp": "2026-11-22T13:00:00+01:00"})

    assert report.timestamp == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert report.timestamp.utcoffset() == timedelta(0)


def test_the_largest_count_that_the_database_holds_is_taken() -> None:
    assert read(SYNC | {"documents_processed": 2**63 - 1}).documents_processed == 2**63 - 1


def test_a_message_as_large_as_allowed_is_read() -> None:
    message = json.dumps(SYNC)
    padded = message + " " * (LONGEST_BODY - len(message))

    assert read(padded.encode()) == read(SYNC)


def test_a_larger_message_is_refused_unread() -> None:
    assert refusal_of(b"x" * (LONGEST_BODY + 1)).reason == "too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"{",
        json.dumps(SYNC).encode() + b"}",
        json.dumps(SYNC).encode()[:-1],
        b"\xff\xfe\x00",
        json.dumps(SYNC).encode("utf-16"),
        json.dumps(SYNC | {"x": "é"}, ensure_ascii=False).encode("latin-1"),
        b"\xef\xbb\xbf" + json.dumps(SYNC).encode(),
        with_raw(SYNC, "x", "NaN"),
        with_raw(SYNC, "x", "Infinity"),
        with_raw(SYNC, "documents_processed", "-Infinity"),
        with_raw(SYNC, "x", r'"\ud800"'),
        with_raw(SYNC, "x", r'"\udc00 alone"'),
        with_raw(SYNC, "x", '"a\x01b"'),
        with_raw(SYNC, "x", "'single'"),
        b"[" * 100_000,
        b'{"x":' * 40_000,
        with_raw(SYNC, "x", "[" * 1_000 + "]" * 1_000),
        with_raw(SYNC, "x", "9" * 5_000),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refusal_of(body).reason == "not_json"


def test_text_that_no_utf_8_can_say_is_refused() -> None:
    with pytest.raises(Unacceptable) as refusal:
        text_of('"\ud800"')

    assert refusal.value.reason == "not_json"


@pytest.mark.parametrize("body", ["[]", '"sync"', "7", "null", "true", json.dumps([SYNC])])
def test_json_that_is_not_an_object_is_refused(body: str) -> None:
    assert refusal_of(body.encode()).reason == "wrong_shape"


@pytest.mark.parametrize("kind", ["", "Sync", "verify", "sync_started", None, 1, ["sync"], {"sync": 1}])
def test_a_type_that_is_neither_sync_nor_verification_is_refused(kind: Any) -> None:
    assert refusal_of(SYNC | {"type": kind}).reason == "unknown_type"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        *[({k: v for k, v in SYNC.items() if k != name}, name) for name in SYNC if name != "type"],
        *[({k: v for k, v in VERIFICATION.items() if k != name}, name) for name in VERIFICATION if name != "type"],
        (SYNC | {"connection_id": "not-an-id"}, "connection_id"),
        (SYNC | {"connection_id": None}, "connection_id"),
        (SYNC | {"connection_id": 7}, "connection_id"),
        (SYNC | {"tenant_id": {}}, "tenant_id"),
        (SYNC | {"operation_id": "x"}, "operation_id"),
        (SYNC | {"status": "completed"}, "status"),
        (SYNC | {"status": "success"}, "status"),
        (SYNC | {"status": ["sync_started"]}, "status"),
        (SYNC | {"error_message": {"text": "no"}}, "error_message"),
        (SYNC | {"documents_processed": -1}, "documents_processed"),
        (SYNC | {"documents_processed": 2**63}, "documents_processed"),
        (SYNC | {"documents_processed": 10**300}, "documents_processed"),
        (SYNC | {"documents_processed": 1.5}, "documents_processed"),
        (SYNC | {"documents_processed": "many"}, "documents_processed"),
        (SYNC | {"documents_processed": []}, "documents_processed"),
        (with_raw(SYNC, "documents_processed", "1e400"), "documents_processed"),
        (SYNC | {"timestamp": "yesterday"}, "timestamp"),
        (SYNC | {"timestamp": "2026-13-01T00:00:00Z"}, "timestamp"),
        (SYNC | {"timestamp": 10**30}, "timestamp"),
        (SYNC | {"timestamp": []}, "timestamp"),
        (with_raw(SYNC, "timestamp", "1e400"), "timestamp"),
        (VERIFICATION | {"status": "verified"}, "status"),
        (VERIFICATION | {"options": ["A"]}, "options"),
        (VERIFICATION | {"options": {"spaces": ["A", "B"]}}, "options"),
        (VERIFICATION | {"options": {"spaces": None}}, "options"),
        (VERIFICATION | {"error": 7}, "error"),
    ],
)
def test_a_message_of_the_wrong_shape_is_refused_with_the_field_that_is_wrong(message: Any, field: str) -> None:
    refusal = refusal_of(message)

    assert refusal.reason == "wrong_shape"
    assert field in refusal.detail


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_moment_that_no_clock_in_utc_can_show_is_refused(moment: str) -> None:
    assert refusal_of(SYNC | {"timestamp": moment}).reason == "wrong_shape"


@pytest.mark.parametrize(
    "message",
    [
        SYNC | {"status": "hunter2"},
        SYNC | {"connection_id": "hunter2"},
        VERIFICATION | {"options": {"spaces": ["hunter2"]}},
        SYNC | {"type": "hunter2"},
        b'{"status": "hunter2"',
        b'"hunter2"',
    ],
)
def test_a_refusal_does_not_repeat_what_was_said(message: Any) -> None:
    assert "hunter2" not in refusal_of(message).detail
