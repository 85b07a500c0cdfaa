"""Syncs that the service started itself, without ids: the history is that of delivery in order, once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, Service
from tests.factories import a_sync_message
from tests.integration.status.conftest import Database
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CONNECTIONS, SYNCS = 60, 1_500
FAILS_EVERY = 7


def a_backlog(connections: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return each sync's start, progress and end, in order, the connections alternating."""
    messages: list[dict[str, Any]] = []
    for number in range(SYNCS):
        connection, began = connections[number % CONNECTIONS], T0 + timedelta(seconds=10 * number)
        end, error = ("sync_failed", f"fault {number}") if number % FAILS_EVERY == 0 else ("sync_completed", None)
        steps = [("sync_started", 0, None), ("sync_started", 1, None), (end, 2, error)]
        messages += [
            a_sync_message(
                connection,
                status,
                timestamp=(began + timedelta(seconds=seconds)).isoformat(),
                documents_processed=number if seconds else None,
                error_message=reason,
            )
            for status, seconds, reason in steps
        ]
    return messages


def history(rows: Database, connections: Sequence[Mapping[str, str]]) -> set[tuple[str, int, str]]:
    """Return the syncs that the history shows, with their counts and outcomes."""
    return set(in_its_order(rows, connections))


def in_its_order(rows: Database, connections: Sequence[Mapping[str, str]]) -> list[tuple[str, int, str]]:
    """Return the same as a page lists it, each connection's oldest first."""
    query = """
        SELECT connection_id, documents_processed, state FROM operations WHERE connection_id = ANY (%s::uuid[])
        ORDER BY connection_id, id
    """
    found = rows(query, [connection["id"] for connection in connections])
    return [(str(row["connection_id"]), row["documents_processed"], row["state"]) for row in found]


def expected(connections: Sequence[Mapping[str, str]]) -> set[tuple[str, int, str]]:
    return {
        (connections[number % CONNECTIONS]["id"], number, "succeeded" if number % FAILS_EVERY else "failed")
        for number in range(SYNCS)
    }


def operations(rows: Database) -> int:
    return int(rows("SELECT count(*) AS n FROM operations")[0]["n"])


def test_the_children_of_one_worker_do_not_overtake_each_other(
    worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert len(worker.children["worker"].family()) == 1 + 3
    connections = database_rows.connections(CONNECTIONS)

    worker_queue.flood(a_backlog(connections))

    eventually(lambda: history(database_rows, connections) == expected(connections), within=60)
    assert operations(database_rows) == SYNCS
    assert in_its_order(database_rows, connections) == sorted(expected(connections))
    assert worker_queue.waiting(DEAD) == 0


def test_two_workers_and_copies_leave_the_same_history(
    processes: Processes, worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert worker
    chance = random.Random(28)  # noqa: S311 - to be the same every time
    connections = database_rows.connections(CONNECTIONS)
    messages = a_backlog(connections)
    # A third comes twice, the copy some way behind.
    behind = [(place, message) for place, message in enumerate(messages)]
    behind += [
        (place + chance.randint(1, 300), messages[place]) for place in chance.sample(range(len(messages)), 1_500)
    ]
    processes.start("worker", as_name="second_worker")

    worker_queue.flood([message for _, message in sorted(behind, key=lambda each: each[0])])

    try:
        eventually(lambda: history(database_rows, connections) == expected(connections), within=60)
    finally:
        processes.stop("second_worker")
    assert operations(database_rows) == SYNCS
    assert in_its_order(database_rows, connections) == sorted(expected(connections))
    assert worker_queue.waiting(DEAD) == 0
