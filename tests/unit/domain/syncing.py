"""A connection in the middle of a sync, and a message applied to it at noon."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from uuid6 import uuid7

from app.domain import lifecycle
from app.domain.cases import Case, Operation
from tests.factories import NOON, PATIENCE, a_case, a_connection, a_report, an_operation

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def apply(case: Case, message: dict[str, Any], *, now: datetime = NOON) -> bool:
    return lifecycle.apply(case, a_report(message), fresh_id=uuid7(), patience=PATIENCE, now=now)


def a_syncing_case(**fields: Any) -> tuple[Case, Operation]:
    connection = a_connection(status="syncing")
    operation = an_operation(connection, **fields)
    return a_case(connection, operation), operation
