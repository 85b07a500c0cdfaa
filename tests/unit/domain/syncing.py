"""A connection in the middle of an operation, and a message applied to it a little later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from app.domain import lifecycle
from app.domain.aggregate import ConnectionAggregate, Operation
from tests.factories import NOON, PATIENCE, a_case, a_connection, a_report, an_operation

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LATER = NOON + 5 * MINUTE


def apply(case: ConnectionAggregate, message: dict[str, Any], *, now: datetime = LATER) -> bool:
    return lifecycle.apply_report(case, a_report(message), new_id=uuid7, deadlines=PATIENCE, now=now)


def a_case_with(**fields: Any) -> tuple[ConnectionAggregate, Operation]:
    """Return a connection with one operation, a delivered sync unless the operation's fields say otherwise."""
    connection = a_connection()
    operation = an_operation(connection, **fields)
    if operation.is_open:
        connection.status = "syncing" if operation.kind == "sync" else "verifying"
    return a_case(connection, operation), operation


def a_syncing_case(**fields: Any) -> ConnectionAggregate:
    """Return a connection of these fields whose sync was delivered."""
    connection = a_connection(status="syncing", **fields)
    return a_case(connection, an_operation(connection))


def a_verifying_case(**fields: Any) -> ConnectionAggregate:
    """Return a connection of these fields whose verification was delivered."""
    connection = a_connection(status="verifying", **fields)
    return a_case(connection, an_operation(connection, kind="verify"))
