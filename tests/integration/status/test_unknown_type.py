"""A batch in which one connection is of a type that this release does not know."""

from __future__ import annotations

import json

from redis import Redis

from app.outbound import events
from tests.integration.status.conftest import Apply, Database, completions

COUNT = 10


def test_it_is_applied_once_and_costs_nobody_an_event(apply: Apply, database_rows: Database, redis: Redis) -> None:
    connections = database_rows.connections(COUNT)
    database_rows("UPDATE data_source_connections SET type = 'of_a_later_release' WHERE id = %s", connections[4]["id"])

    letters = apply(*completions(connections))

    assert letters == []
    assert [len(database_rows.operations(connection["id"])) for connection in connections] == [1] * COUNT
    told = [
        redis.xrange(f"{events.channel_of_organization(connection['organization_id'])}:events")
        for connection in connections
    ]
    assert [[json.loads(fields[b"data"])["change"] for _, fields in entries] for entries in told] == [
        ["sync.succeeded"]
    ] * COUNT
