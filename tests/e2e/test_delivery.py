"""What becomes of a request that the external service does not take, or takes and never answers."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler

import pytest

from tests.e2e.browser import Person
from tests.e2e.conftest import Rows
from tests.e2e.service import Service
from tests.factories import a_verification_message
from tests.receiver import Behaviour, Receiver, answer
from tests.waiting import eventually

# VERIFY_RETRY_SECONDS has three waits, and so has SYNC_RETRY_SECONDS.
ALL_ATTEMPTS = 4


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def test_a_receiver_that_fails_twice_gets_the_same_request_a_third_time_and_the_operation_is_one(
    ada: Person, external: Receiver, rows: Rows, service: Service
) -> None:
    connection = ada.seeded()
    external.script.extend([answer(500), answer(503)])

    operation_id = ada.verify(connection)["operation_id"]
    eventually(lambda: rows.operation(connection["id"], "verify")["state"] == "delivered")

    operations = rows("SELECT * FROM operations WHERE connection_id = %s", connection["id"])
    assert [(row["id"], row["state"], row["attempts"]) for row in operations] == [(operation_id, "delivered", 3)]
    log = operations[0]["attempt_log"]
    assert [(entry["attempt"], entry["status_code"]) for entry in log] == [(1, 500), (2, 503), (3, 200)]
    assert len({webhook.body for webhook in external.received}) == 1
    service.send(a_verification_message(connection))
    eventually(lambda: ada.connection()["status"] == "idle")


@pytest.mark.parametrize("trouble", [answer(503), hang_up], ids=["answers 503", "hangs up"])
@pytest.mark.parametrize("kind", ["verify", "sync"])
def test_a_receiver_that_stays_down_puts_the_connection_back_to_idle_and_every_page_is_told_why(
    kind: str, trouble: Behaviour, ada: Person, external: Receiver, rows: Rows
) -> None:
    ada.seeded("websearch")
    connection = ada.call("PUT", "/api/data-sources/websearch", {"enabled": True})["data"]
    external.otherwise = trouble

    with ada.stream() as seen:
        ada.verify(connection) if kind == "verify" else ada.sync(connection)
        error_field = "last_verification_error" if kind == "verify" else "last_sync_error"
        told = seen.wait_for(lambda data: data.get(error_field) and data["status"] == "idle")

    shown = ada.connection("websearch")
    assert (shown["status"], shown[error_field]) == ("idle", told.data[error_field])
    assert f"given up after {ALL_ATTEMPTS} attempts" in shown[error_field]
    assert shown["last_sync_status"] == (None if kind == "verify" else "failed")
    assert rows.operation(connection["id"], kind)["state"] == "undelivered"
    assert len(external.received) == ALL_ATTEMPTS


def test_a_verification_that_is_never_answered_expires_and_says_so_to_every_page(
    ada: Person, external: Receiver, rows: Rows
) -> None:
    connection = ada.seeded("servicenow")

    with ada.stream() as seen:
        ada.verify(connection)
        told = seen.wait_for(lambda data: data.get("change") == "verify.expired", within=25)

    assert len(external.received) == 1
    assert told.data["status"] == "idle"
    assert told.data["last_verification_error"] == "The external service did not answer in time; verify again"
    assert ada.connection("servicenow")["last_verification_error"] == told.data["last_verification_error"]
    assert rows.operation(connection["id"], "verify")["state"] == "expired"
