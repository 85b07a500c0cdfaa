"""The webhook's body, to the letter of CONTRACT's section 4, and what is read out of an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from uuid import UUID

import pydantic_core
import pytest

from app.outbound import webhook
from tests.factories import NOON, a_connection, an_operation

USER = UUID(int=7)
COMMON = {"user_email", "user_id", "tenant_id", "timestamp", "connection_id", "connection_type"}


def test_a_verifications_body_has_exactly_the_contracts_keys_and_the_operations_id() -> None:
    connection = a_connection()
    operation = an_operation(connection, kind="verify", requested_by=USER, requested_email="ada@example.org")
    sealed = {"settings": {"spaces": "A"}, "credentials": {"api_token": "x"}}

    body = webhook.webhook_body(operation, connection_type="confluence", decrypted=sealed)

    assert set(body) == COMMON | {"source", "action", "settings", "credentials", "operation_id"}
    assert (body["source"], body["action"]) == ("rita-chat", "verify_credentials")
    assert body["settings"] == {"spaces": "A"}
    assert body["credentials"] == {"api_token": "x"}
    assert body["tenant_id"] == connection.organization_id
    assert (body["connection_id"], body["connection_type"]) == (connection.id, "confluence")
    assert (body["user_id"], body["user_email"]) == (USER, "ada@example.org")
    assert body["operation_id"] == operation.id


def test_a_syncs_body_has_exactly_the_contracts_keys_and_the_operations_id() -> None:
    connection = a_connection()
    request = {"connection_name": "Our wiki", "config": {"spaces": "A"}}
    operation = an_operation(connection, request=request)

    body = webhook.webhook_body(operation, connection_type="confluence")

    assert set(body) == COMMON | {"source", "action", "connection_name", "config", "operation_id"}
    assert (body["source"], body["action"]) == ("rita-data-sources", "data_source_sync_requested")
    assert (body["connection_name"], body["config"]) == ("Our wiki", {"spaces": "A"})


def test_a_syncs_body_never_holds_credentials() -> None:
    body = webhook.webhook_body(
        an_operation(a_connection()), connection_type="confluence", decrypted={"credentials": {"x": 1}}
    )

    assert "credentials" not in body


def test_a_verification_without_settings_says_so_with_empty_objects() -> None:
    body = webhook.webhook_body(an_operation(a_connection(), kind="verify"), connection_type="websearch", decrypted={})

    assert (body["settings"], body["credentials"]) == ({}, {})


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(2026, 11, 22, 14, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_the_timestamp_is_utc_with_milliseconds_and_a_z(moment: datetime) -> None:
    body = webhook.webhook_body(an_operation(a_connection(), created_at=moment), connection_type="confluence")

    assert body["timestamp"] == "2026-11-22T12:00:00.123Z"


def test_the_body_is_the_same_at_every_attempt() -> None:
    operation = an_operation(a_connection())
    first = pydantic_core.to_json(webhook.webhook_body(operation, connection_type="confluence"))

    operation.attempts, operation.last_status_code = 4, 503

    assert pydantic_core.to_json(webhook.webhook_body(operation, connection_type="confluence")) == first


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        (None, None),
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        (" 7 ", timedelta(seconds=7)),
        ("9" * 40, timedelta(days=1)),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), timedelta(seconds=90)),
        (format_datetime(NOON - timedelta(seconds=90), usegmt=True), timedelta(0)),
        ("Sun, 22 Nov 2026 12:01:00", timedelta(minutes=1)),
        ("Sunday, 22-Nov-26 12:01:00 GMT", timedelta(minutes=1)),
        ("", None),
        ("soon", None),
        ("-7", None),
        ("1.5", None),
        ("7 seconds", None),
        ("Sun, 99 Nov 2026 12:01:00 GMT", None),
        ("Wed, 21 Oct 99999999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_nothing(
    value: str | None, pause: timedelta | None
) -> None:
    assert webhook._parse_retry_after(value, now=NOON) == pause  # noqa: SLF001 - the header's reading is worth a table
