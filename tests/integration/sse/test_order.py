"""The order of an operation's events: what was held up on its way never undoes what a page was told since."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from redis import Redis

from app.domain.aggregate import Change, Connection, Operation
from app.outbound import events
from tests.factories import a_connection, an_operation


def told(redis: Redis, connection: Connection) -> list[str]:
    """Return the steps that the organization's pages were told, in order."""
    channel = events.channel_of_organization(connection.organization_id)
    return [json.loads(fields[b"data"])["change"] for _, fields in redis.xrange(f"{channel}:events")]


def tell(connection: Connection, operation: Operation, *steps: str) -> None:
    for step in steps:
        events.publish_changes([Change(f"{operation.kind}.{step}", connection, operation, {})])


@pytest.fixture
def connection(app: Flask) -> Connection:
    assert app
    return a_connection()


def test_every_step_of_an_operation_is_told_however_often_its_delivery_is_delayed(
    redis: Redis, connection: Connection
) -> None:
    steps = ["requested", "delayed", "delayed", "delivered", "started", "progress", "progress", "succeeded"]

    tell(connection, an_operation(connection, kind="sync"), *steps)

    assert told(redis, connection) == [f"sync.{step}" for step in steps]


@pytest.mark.parametrize("late", ["requested", "delayed", "delivered", "started", "progress"])
def test_a_step_that_was_held_up_until_after_the_end_is_not_told(
    redis: Redis, connection: Connection, late: str
) -> None:
    operation = an_operation(connection, kind="sync")
    tell(connection, operation, "failed")

    tell(connection, operation, late)

    assert told(redis, connection) == ["sync.failed"]


def test_a_newer_operation_begins_anew_and_an_older_ones_steps_come_too_late(
    redis: Redis, connection: Connection
) -> None:
    older, newer = an_operation(connection, kind="sync"), an_operation(connection, kind="sync")
    tell(connection, older, "requested", "delivered")
    tell(connection, newer, "requested")

    tell(connection, older, "started")
    tell(connection, newer, "delivered")

    assert told(redis, connection) == ["sync.requested", "sync.delivered", "sync.requested", "sync.delivered"]


def test_an_answer_after_the_end_is_told_for_it_repairs_the_history(redis: Redis, connection: Connection) -> None:
    operation = an_operation(connection, kind="sync")

    tell(connection, operation, "requested", "expired", "succeeded")

    assert told(redis, connection) == ["sync.requested", "sync.expired", "sync.succeeded"]


def test_a_change_of_which_no_event_can_be_made_costs_only_its_own(
    redis: Redis, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    assert app
    connections = [a_connection() for _ in range(5)]
    connections[2].config = {"unspeakable": object()}

    events.publish_changes([Change("connection.configured", connection, None, {}) for connection in connections])

    heard = [len(told(redis, connection)) for connection in connections]
    assert heard == [1, 1, 0, 1, 1]
    (record,) = caplog.records
    assert (record.msg["event"], record.msg["connection_id"]) == ("event_not_made", str(connections[2].id))
