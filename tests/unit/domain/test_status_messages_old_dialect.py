"""The older dialect: bodies without `type`, told apart by their keys and then by their queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.domain.status_messages import MessageRefused, Report, parse_report

ADDRESS = {"connection_id": str(UUID(int=1)), "tenant_id": str(UUID(int=2))}
ANY_QUEUE = ["data_source_status", "data_source.sync_status"]


def read(message: dict[str, Any], *, queue: str) -> Report:
    return parse_report(json.dumps(ADDRESS | message), queue_name=queue)


@pytest.mark.parametrize("queue", ANY_QUEUE)
@pytest.mark.parametrize(
    ("status", "trigger"),
    [
        ("started", "started"),
        ("completed", "succeeded"),
        ("failed", "failed"),
        ("sync_started", "started"),
        ("sync_completed", "succeeded"),
        ("sync_failed", "failed"),
    ],
)
def test_a_sync_status_is_understood_with_its_prefix_and_without(queue: str, status: str, trigger: str) -> None:
    report = read({"status": status}, queue=queue)

    assert (report.kind, report.trigger, report.timestamp) == ("sync", trigger, None)


@pytest.mark.parametrize("name", ["error", "error_message"])
def test_a_failed_syncs_error_is_understood_under_either_name(name: str) -> None:
    report = read({"status": "failed", name: "disk full"}, queue="data_source_status")

    assert report.error == "disk full"


def test_of_two_errors_the_newer_dialects_name_counts() -> None:
    report = read({"status": "failed", "error": "old", "error_message": "new"}, queue="data_source_status")

    assert report.error == "new"


def test_a_timestamp_and_a_count_are_taken_where_they_are_sent() -> None:
    sent = {"status": "completed", "timestamp": "2026-11-22T12:00:00Z", "documents_processed": 5}

    report = read(sent, queue="data_source.sync_status")

    assert report.timestamp == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert report.documents_processed == 5


@pytest.mark.parametrize("queue", [*ANY_QUEUE, "data_source.verification_status"])
@pytest.mark.parametrize(
    ("said", "trigger", "options"),
    [
        ({"status": "success"}, "succeeded", None),
        ({"status": "success", "options": {"spaces": "A"}}, "succeeded", {"spaces": "A"}),
        ({"status": "success", "options": None, "error": None}, "succeeded", None),
        ({"status": "failed", "options": None, "error": "no"}, "failed", None),
        ({"status": "failed", "options": {}}, "failed", None),
    ],
)
def test_a_success_or_options_make_it_a_verification(
    queue: str, said: dict[str, Any], trigger: str, options: dict[str, str] | None
) -> None:
    report = read(said, queue=queue)

    assert (report.kind, report.trigger) == ("verify", trigger)
    assert report.options == options


def test_a_bare_failure_on_the_verification_queue_is_a_verifications() -> None:
    report = read({"status": "failed", "error": "wrong password"}, queue="data_source.verification_status")

    assert (report.kind, report.error) == ("verify", "wrong password")


@pytest.mark.parametrize("queue", ANY_QUEUE)
def test_a_bare_failure_elsewhere_is_a_syncs(queue: str) -> None:
    report = read({"status": "failed", "error": "disk full"}, queue=queue)

    assert (report.kind, report.error) == ("sync", "disk full")


def test_an_operations_id_is_taken_here_too() -> None:
    report = read({"status": "completed", "operation_id": str(UUID(int=3))}, queue="data_source_status")

    assert report.operation_id == UUID(int=3)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"status": None},
        {"status": 1},
        {"status": ["completed"]},
        {"status": {"completed": True}},
        {"status": "done"},
        {"status": "COMPLETED"},
        {"status": "completed", "connection_id": "x"},
        {"status": "verified", "options": {"spaces": "A"}},
        {"task": "webhooks.deliver", "id": "x", "args": [], "kwargs": {}},
    ],
)
def test_what_fits_neither_kind_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(MessageRefused) as refusal:
        read(said, queue="data_source_status")

    assert refusal.value.reason == "wrong_shape"
