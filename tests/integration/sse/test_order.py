"""Events of one operation reach a page in the order of its steps, whichever process is the slower one to publish."""

from __future__ import annotations

from copy import copy

import pytest

from app.domain.cases import Change, Connection, Operation
from app.outbound import events
from tests.e2e.browser import Stream
from tests.factories import a_connection, an_operation
from tests.integration.sse.conftest import Web
from tests.waiting import eventually


def publish(web: Web, action: str, operation: Operation, connection: Connection, *, status: str) -> None:
    shown = copy(connection)
    shown.status = status
    with web.app.app_context():
        events.publish([Change(action, shown, operation, {})])


def changes(stream: Stream) -> list[str]:
    return [event.data["change"] for event in stream.updates]


@pytest.mark.parametrize("late", ["requested", "delivered", "started", "progress"])
def test_a_step_that_is_told_after_the_end_is_left_out(web: Web, late: str) -> None:
    ada = web.person()
    connection = a_connection(organization_id=ada.organization_id)
    operation = an_operation(connection)

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        publish(web, "sync.succeeded", operation, connection, status="idle")
        publish(web, f"sync.{late}", operation, connection, status="syncing")
        publish(web, "connection.configured", operation, connection, status="idle")
        seen.wait_for(lambda data: data.get("change") == "connection.configured")

    assert changes(seen) == ["sync.succeeded", "connection.configured"]


def test_the_steps_of_the_next_operation_and_of_the_other_kind_are_told(web: Web) -> None:
    ada = web.person()
    connection = a_connection(organization_id=ada.organization_id)
    first, verification, second = (
        an_operation(connection),
        an_operation(connection, kind="verify"),
        an_operation(connection),
    )

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        publish(web, "sync.succeeded", first, connection, status="idle")
        publish(web, "verify.requested", verification, connection, status="verifying")
        publish(web, "sync.requested", second, connection, status="syncing")
        publish(web, "sync.progress", second, connection, status="syncing")
        publish(web, "sync.progress", second, connection, status="syncing")
        seen.wait_for(lambda _: len(seen.updates) == 5)

    assert changes(seen) == ["sync.succeeded", "verify.requested", "sync.requested", "sync.progress", "sync.progress"]


def test_an_end_is_told_however_late_for_its_words_are_nowhere_else(web: Web) -> None:
    ada = web.person()
    connection = a_connection(organization_id=ada.organization_id)
    first, second = an_operation(connection), an_operation(connection)

    with ada.stream() as seen:
        eventually(lambda: seen.events)
        publish(web, "sync.requested", second, connection, status="syncing")
        publish(web, "sync.expired", first, connection, status="syncing")
        seen.wait_for(lambda data: data.get("change") == "sync.expired")

    assert changes(seen) == ["sync.requested", "sync.expired"]
