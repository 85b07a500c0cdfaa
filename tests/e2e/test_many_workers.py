"""Three status workers on one queue: what their number may do to order, and what it may not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.browser import Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, Service
from tests.factories import a_sync_message
from tests.waiting import eventually

ORGANIZATIONS, SYNCS = 5, 40
# Told twice, and what is told twice is told once in order and once in none.
TIMES = 2
ENDED = "SELECT count(*) AS n FROM operations WHERE connection_id = ANY(%s::uuid[]) AND state = 'succeeded'"
TWICE = """
    SELECT operation_id, action FROM audit_logs WHERE connection_id = ANY(%s::uuid[]) AND operation_id IS NOT NULL
    GROUP BY operation_id, action HAVING count(*) > 1
"""


@pytest.fixture
def workers(rita: Processes) -> Iterator[list[str]]:
    """Two more beside the one there is, of three children each."""
    names = ["second worker", "third worker"]
    for name in names:
        rita.start("worker", as_name=name)
    yield ["worker", *names]
    rita.stop(*names)


def test_with_many_workers_nothing_is_applied_twice_and_no_older_word_replaces_a_newer_one(
    rita: Processes, workers: list[str], service: Service, rows: Rows
) -> None:
    connections = [connection for _ in range(ORGANIZATIONS) for connection in _connections(Person(rita.base_url))]
    ids = [connection["id"] for connection in connections]
    began = datetime.now(UTC)
    messages = [
        message for number in range(SYNCS) for connection in connections for message in _sync(connection, number, began)
    ]
    before = {name: len(_batches(rita, name)) for name in workers}

    service.flood(messages)
    service.flood(random.sample(messages, len(messages)))

    def batches(name: str) -> list[dict[str, Any]]:
        return _batches(rita, name)[before[name] :]

    def total(what: str) -> int:
        return sum(batch[what] for name in workers for batch in batches(name))

    eventually(lambda: total("messages") == TIMES * len(messages), within=60)
    assert all(batches(name) for name in workers)
    assert total("refused") == 0
    assert rows(ENDED, ids) == [{"n": len(messages) // 2}]
    assert rows(TWICE, ids) == []
    assert service.waiting(DEAD) == 0
    for row in rows("SELECT * FROM data_source_connections WHERE id = ANY(%s::uuid[])", ids):
        assert (row["status"], row["last_sync_status"]) == ("idle", "completed")
        assert row["sync_reported_at"] == began + timedelta(minutes=SYNCS)


def _batches(rita: Processes, name: str) -> list[dict[str, Any]]:
    """Return what a worker tells of each batch that it has applied."""
    lines = [json.loads(line) for line in rita.log(name).splitlines() if "status_batch_applied" in line]
    return [line for line in lines if line["event"] == "status_batch_applied"]


def _connections(person: Person) -> list[dict[str, Any]]:
    person.call("POST", "/api/data-sources/seed")
    return list(person.call("GET", "/api/data-sources")["data"])


def _sync(connection: dict[str, Any], number: int, began: datetime) -> list[dict[str, Any]]:
    """Return the start and the end of one sync, a minute long, by the service's own clock."""
    start, end = began + timedelta(minutes=number, seconds=1), began + timedelta(minutes=number + 1)
    return [
        a_sync_message(connection, "sync_started", timestamp=start.isoformat()),
        a_sync_message(connection, "sync_completed", timestamp=end.isoformat(), documents_processed=number),
    ]
