"""From raw bytes to a report, or a reason why not. Messages here are CONTRACT's section 5, and everything else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain.status_messages import (
    MAX_BODY_BYTES,
    MAX_ERROR_TEXT_LENGTH,
    MessageRefused,
    Report,
    SyncReport,
    VerificationReport,
    decode_body,
    parse_report,
    require_readable_options,
)

CONNECTION, TENANT = UUID(int=1), UUID(int=2)
ADDRESS = {"connection_id": str(CONNECTION), "tenant_id": str(TENANT)}
SYNC = ADDRESS | {"type": "sync", "status": "sync_completed", "timestamp": "2026-11-22T12:00:00Z"}
VERIFICATION = ADDRESS | {"type": "verification", "status": "success", "options": {"spaces": "A,B"}, "error": None}


def read(message: Any, *, queue: str = "data_source_status") -> Report:
    return parse_report(decode_body(message if isinstance(message, bytes) else json.dumps(message)), queue_name=queue)


REQUIRED = ("connection_id", "tenant_id", "status")


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


def refusal_of(message: Any) -> MessageRefused:
    with pytest.raises(MessageRefused) as refusal:
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


def test_an_error_text_is_cut_at_what_people_read_and_says_so() -> None:
    whole = read(SYNC | {"status": "sync_failed", "error_message": "x" * MAX_ERROR_TEXT_LENGTH}).error
    cut = read(SYNC | {"status": "sync_failed", "error_message": "x" * (MAX_ERROR_TEXT_LENGTH + 1)}).error

    assert whole == "x" * MAX_ERROR_TEXT_LENGTH
    assert cut is not None
    assert cut.endswith("xxx… (cut)")
    assert len(cut) == MAX_ERROR_TEXT_LENGTH


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
    padded = message + " " * (MAX_BODY_BYTES - len(message))

    assert read(padded.encode()) == read(SYNC)


def test_a_larger_message_is_refused_unread() -> None:
    assert refusal_of(b"x" * (MAX_BODY_BYTES + 1)).reason == "too_large"


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
        b"\xef\xbb\xbf",
        with_raw(SYNC, "x", "NaN"),
        with_raw(SYNC, "x", "Infinity"),
        with_raw(SYNC, "documents_processed", "-Infinity"),
        with_raw(SYNC, "x", r'"\ud80"'),
        with_raw(SYNC, "x", r'"\udc00 alone\x"'),
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
    with pytest.raises(MessageRefused) as refusal:
        decode_body('"\ud800"')

    assert refusal.value.reason == "not_json"


@pytest.mark.parametrize("body", ["[]", '"sync"', "7", "null", "true", "[7]"])
def test_json_that_is_not_an_object_is_refused(body: str) -> None:
    assert refusal_of(body.encode()).reason == "wrong_shape"


@pytest.mark.parametrize("kind", ["Sync", "verify", "sync_started", 1, False, ["sync"], {"sync": 1}])
def test_a_type_that_is_neither_sync_nor_verification_is_refused(kind: Any) -> None:
    assert refusal_of(SYNC | {"type": kind}).reason == "unknown_type"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        *[(without(SYNC, name), name) for name in REQUIRED],
        *[(without(VERIFICATION, name), name) for name in REQUIRED],
        (SYNC | {"connection_id": "not-an-id"}, "connection_id"),
        (SYNC | {"connection_id": None}, "connection_id"),
        (SYNC | {"connection_id": 7}, "connection_id"),
        (SYNC | {"tenant_id": {}}, "tenant_id"),
        (SYNC | {"operation_id": "x"}, "operation_id"),
        (SYNC | {"status": "completed"}, "status"),
        (SYNC | {"status": "success"}, "status"),
        (SYNC | {"status": ["sync_started"]}, "status"),
        (SYNC | {"documents_processed": -1}, "documents_processed"),
        (SYNC | {"documents_processed": 2**63}, "documents_processed"),
        (SYNC | {"documents_processed": 10**300}, "documents_processed"),
        (SYNC | {"documents_processed": 1.5}, "documents_processed"),
        (SYNC | {"documents_processed": "many"}, "documents_processed"),
        (SYNC | {"documents_processed": [7]}, "documents_processed"),
        (with_raw(SYNC, "documents_processed", "1e400"), "documents_processed"),
        (SYNC | {"timestamp": "yesterday"}, "timestamp"),
        (SYNC | {"timestamp": "2026-13-01T00:00:00Z"}, "timestamp"),
        (SYNC | {"timestamp": [7]}, "timestamp"),
        (with_raw(SYNC, "timestamp", "1e400"), "timestamp"),
        (VERIFICATION | {"status": "verified"}, "status"),
    ],
)
def test_a_message_of_the_wrong_shape_is_refused_with_the_field_that_is_wrong(message: Any, field: str) -> None:
    refusal = refusal_of(message)

    assert refusal.reason == "wrong_shape"
    assert field in refusal.detail


@pytest.mark.parametrize(
    "message",
    [
        SYNC | {"status": "hunter2"},
        SYNC | {"connection_id": "hunter2"},
        VERIFICATION | {"operation_id": "hunter2"},
        SYNC | {"timestamp": "hunter2"},
        {"hunter2": SYNC, "type": "hunter2"},
        SYNC | {"type": "hunter2"},
        b'{"status": "hunter2"',
        b'"hunter2"',
    ],
)
def test_a_refusal_does_not_repeat_what_was_said(message: Any) -> None:
    assert "hunter2" not in refusal_of(message).detail


@pytest.mark.parametrize("empty", [None, "", " ", [], {}], ids=repr)
@pytest.mark.parametrize(
    "name", ["operation_id", "timestamp", "documents_processed", "error_message", "error", "later"]
)
def test_of_a_sync_absent_null_and_empty_are_one(name: str, empty: Any) -> None:
    for status in ("sync_started", "sync_completed", "sync_failed"):
        said = SYNC | {"status": status}
        assert read(said | {name: empty}) == read(without(said, name))


@pytest.mark.parametrize("empty", [None, "", " ", [], {}], ids=repr)
@pytest.mark.parametrize("name", ["operation_id", "options", "error", "error_message", "later"])
@pytest.mark.parametrize("status", ["success", "failed"])
def test_of_a_verification_absent_null_and_empty_are_one(name: str, empty: Any, status: str) -> None:
    said = VERIFICATION | {"status": status}

    assert read(said | {name: empty}) == read(without(said, name))


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_type_is_the_older_dialects(empty: Any) -> None:
    assert read(SYNC | {"type": empty}) == read(SYNC)


@pytest.mark.parametrize("nobody", [str(UUID(int=0)), UUID(int=0).hex])
def test_the_nil_uuid_is_no_operations(nobody: str) -> None:
    assert read(SYNC | {"operation_id": nobody}).operation_id is None


@pytest.mark.parametrize("name", ["error", "error_message"])
@pytest.mark.parametrize("failure", [SYNC | {"status": "sync_failed"}, VERIFICATION | {"status": "failed"}])
def test_an_error_is_read_under_either_name(failure: dict[str, Any], name: str) -> None:
    other = {"error": "error_message", "error_message": "error"}[name]

    for unsaid in ({}, {other: None}, {other: ""}, {other: False}):
        assert read(without(failure, "error") | unsaid | {name: "disk full"}).error == "disk full"


@pytest.mark.parametrize("error", [7, True, {"code": "E7", "message": "disk full"}, ["disk full"]], ids=repr)
@pytest.mark.parametrize("failure", [SYNC | {"status": "sync_failed"}, VERIFICATION | {"status": "failed"}])
def test_an_error_that_is_no_text_is_shown_as_it_came(failure: dict[str, Any], error: Any) -> None:
    assert read(failure | {"error": error}).error == json.dumps(error, separators=(",", ":"))


@pytest.mark.parametrize("error", ["not this one", 7, {}, {"message": "not this one"}, False], ids=repr)
def test_beside_a_success_an_error_is_not_read(error: Any) -> None:
    assert read(VERIFICATION | {"error": error, "error_message": error}) == read(VERIFICATION)
    assert read(SYNC | {"error": error, "error_message": error}) == read(SYNC)


@pytest.mark.parametrize("options", ["A,B", ["A"], {"spaces": 7}], ids=repr)
def test_beside_a_failure_options_are_not_read(options: Any) -> None:
    said = VERIFICATION | {"status": "failed", "error": "no"}

    assert read(said | {"options": options}) == read(without(said, "options"))


@pytest.mark.parametrize("count", [12, 12.0, "12", " 12 "])
def test_a_count_is_read_as_a_number_however_it_is_written(count: Any) -> None:
    assert read(SYNC | {"documents_processed": count}).documents_processed == 12


def test_options_are_kept_whole_as_strings_or_as_arrays_of_strings() -> None:
    long = ",".join(f"SPACE-{number:05}" for number in range(20_000))
    options = {"spaces": long, "sites": ["Sales, EMEA", "HR", " padded "]}

    assert read(VERIFICATION | {"options": options}).options == options


NO_CHOICES = [2, True, 1.5, {"next": None}, ["A", 1], [[]], {"A": "hunter2"}]


@pytest.mark.parametrize("other", [*NO_CHOICES, None, "", []], ids=repr)
@pytest.mark.parametrize("name", ["total", "sites"])
def test_an_option_that_the_type_does_not_read_harms_nothing(name: str, other: Any) -> None:
    report = read(VERIFICATION | {"options": {"spaces": "A,B", name: other}})

    require_readable_options(report, options_key="spaces")
    assert report.options == {"spaces": "A,B"}


@pytest.mark.parametrize("other", [*({"spaces": no_choice} for no_choice in NO_CHOICES), ["A"], "A,B", 7], ids=repr)
def test_what_is_no_choice_is_refused_where_the_type_reads_it(other: Any) -> None:
    report = read(VERIFICATION | {"options": other})

    require_readable_options(report, options_key=None)
    assert report.options is None
    with pytest.raises(MessageRefused) as refusal:
        require_readable_options(report, options_key="spaces")
    assert refusal.value.reason == "wrong_shape"
    assert refusal.value.detail.startswith("options.spaces:" if isinstance(other, dict) else "options:")
    assert "hunter2" not in refusal.value.detail


def test_who_offers_nothing_is_not_refused() -> None:
    for said in (VERIFICATION | {"options": {"total": 2}}, without(VERIFICATION, "options"), SYNC):
        require_readable_options(read(said), options_key="spaces")


def test_an_empty_name_in_an_array_is_none() -> None:
    options = {"spaces": ["A", "", None, " "], "sites": [None]}

    assert read(VERIFICATION | {"options": options}).options == {"spaces": ["A"]}


def test_nul_in_a_name_of_an_array_is_replaced() -> None:
    assert read(VERIFICATION | {"options": {"spaces": ["A\x00"]}}).options == {"spaces": ["A\ufffd"]}


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"cut \uD83D", "cut \ufffd"),
        (r"\udc4d cut", "\ufffd cut"),
        (r"\ud83d\ud83d\udc4d", "\ufffd\U0001f44d"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\ud83d\n", "\ufffd\n"),
        (r"whole \ud83d\udc4d", "whole \U0001f44d"),
        (r"no escape: \\ud83d, one: \\\ud83d", "no escape: \\ud83d, one: \\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_replaced_and_the_message_applied(escaped: str, text: str) -> None:
    failed = SYNC | {"status": "sync_failed"}

    assert read(with_raw(failed, "error_message", f'"{escaped}"')).error == text
    assert read(with_raw(VERIFICATION, "options", f'{{"spaces": ["{escaped}"]}}')).options == {"spaces": [text]}
    assert read(with_raw(VERIFICATION, "options", f'{{"{escaped}": "A"}}')).options == {text: "A"}
    assert read(with_raw(failed, escaped, "1")) == read(failed)


@pytest.mark.parametrize("encoding", ["utf-8-sig"])
def test_a_byte_order_mark_is_skipped(encoding: str) -> None:
    assert read(json.dumps(SYNC).encode(encoding)) == read(SYNC)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (with_raw(SYNC, "x", "NaN"), "NaN and Infinity"),
        (with_raw(SYNC, "x", "[1, -Infinity]"), "NaN and Infinity"),
        (json.dumps(SYNC).encode("utf-16"), "UTF-16"),
        (json.dumps(SYNC).encode("utf-16-le"), "UTF-16"),
        (json.dumps(SYNC).encode("utf-16-be"), "UTF-16"),
        (json.dumps(SYNC).encode("utf-32-le"), "UTF-16 or UTF-32"),
        (str(SYNC).encode(), "single quotes"),
        (b'a:2:{s:4:"type";s:4:"sync";}', "json_encode"),
        (b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap", "Jackson2JsonMessageConverter"),
        (b"\x80\x04\x95\xff", "pickle"),
        (b"\x1f\x8b\x08\x00", "compressed"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_not_json_is_refused_with_what_it_seems_to_be(body: bytes, hint: str) -> None:
    refusal = refusal_of(body)

    assert refusal.reason == "not_json"
    assert hint in refusal.detail


CELERY = [[SYNC], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"pattern": "data_source_status", "data": VERIFICATION}, "NestJS"),
        ({"pattern": {"cmd": "status"}, "data": VERIFICATION, "id": "7"}, "NestJS"),
        ({"specversion": "1.0", "type": "com.acme.sync", "source": "/acme", "id": "7", "data": SYNC}, "CloudEvents"),
        ({"specversion": "1.0", "type": "sync", "source": "/acme", "id": "7", "data": SYNC}, "CloudEvents"),
        ({"messageId": "7", "messageType": ["urn:message:Acme:Status"], "message": SYNC, "host": {}}, "MassTransit"),
        (CELERY, "Celery"),
        ({"task": "rita.status", "id": "7", "args": [SYNC], "kwargs": {}}, "Celery"),
        ({"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": json.dumps(SYNC)}, "SNS"),
        ({"version": "0", "detail-type": "status", "source": "acme", "detail": SYNC}, "EventBridge"),
        ({"uuid": "7", "displayName": "Status", "job": "Illuminate…", "data": SYNC}, "Laravel"),
        ({"schema": {"type": "struct"}, "payload": SYNC}, "Kafka Connect"),
        ({"payload": SYNC}, "`payload` alone"),
        ({"event": "status", "body": json.dumps(SYNC)}, "`body` alone"),
        ([SYNC, SYNC], "an array"),
        (json.dumps(SYNC), "encoded twice"),
    ],
    ids=str,
)
def test_an_envelope_is_refused_with_its_name_and_what_to_set(body: Any, name: str) -> None:
    refusal = refusal_of(body if isinstance(body, bytes) else json.dumps(body).encode())

    assert refusal.reason == "enveloped"
    assert name in refusal.detail


@pytest.mark.parametrize(
    "extra", [{"pattern": "x", "data": {}}, {"specversion": "1.0", "source": "x"}, {"payload": SYNC}]
)
def test_a_message_that_is_one_is_applied_whatever_envelope_it_looks_like(extra: dict[str, Any]) -> None:
    assert read(SYNC | extra) == read(SYNC)
