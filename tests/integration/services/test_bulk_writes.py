"""What is left out of a statement because the row has it anyway."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask import Flask
from uuid_utils.compat import uuid7

from app.domain.aggregate import Operation, row_values
from app.services import aggregate_store, bulk_writes
from app.unit_of_work import unit_of_work
from tests.factories import Browser

# What means something in an array of PostgreSQL, in JSON, or in a statement.
HARD_TO_QUOTE = ["", "NULL", "null", '{"a": 1}', "a,b", '"', "\\", '\\"', "'", "%s %(ids)s :ids", " ", "\n\t", "ü€𝄞"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"attempts": 2, "reported_late": True, "late_reports": 3},
        {"request": {"full": True}, "attempt_log": [{"attempt": 1}], "request_id": "of-a-press"},
        *[{"error": text, "request": {text: [text, None]}, "attempt_log": [text]} for text in HARD_TO_QUOTE],
    ],
)
def test_a_new_operation_is_read_back_as_it_was_written(web: Flask, given: dict[str, object]) -> None:
    browser = Browser(web)
    connection_id, now = UUID(browser.seeded()), datetime.now(UTC)
    least = Operation(
        id=uuid7(),
        organization_id=browser.organization_id,
        connection_id=connection_id,
        kind="sync",
        origin="user",
        created_at=now,
        deadline_at=now + timedelta(hours=1),
    )
    operation = replace(least, **given)

    with web.app_context(), unit_of_work(tenant_ids=[browser.organization_id]) as work:
        bulk_writes.write_changes(work.session, new_operations=[row_values(operation)])
        (case,) = aggregate_store.load_for_update(work.session, [connection_id]).values()

    assert list(case.operations.values()) == [operation]
