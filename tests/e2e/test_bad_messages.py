"""Messages that cannot be applied: kept, untouched, with their reasons, and an operator's to list, replay or drop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.browser import Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, STATUS, Service, body_of
from tests.factories import a_sync_message, a_verification_message
from tests.waiting import eventually


def everything(rows: Rows) -> list[Any]:
    tables = ("data_source_connections", "operations", "audit_logs")
    return [rows(f"SELECT * FROM {table} ORDER BY id") for table in tables]  # noqa: S608 - names of our own


@pytest.mark.parametrize("reason", ["too_large", "not_json", "enveloped"])
def test_whoever_waits_for_an_answer_that_cannot_be_read_is_told_at_once(
    ada: Person, service: Service, reason: str
) -> None:
    connection = ada.seeded()
    asked = ada.verify(connection)
    answer = a_verification_message(connection, operation_id=asked["operation_id"], options={"spaces": "Grüße"})
    bodies = {
        "too_large": json.dumps(answer | {"options": {"spaces": "x" * 300_000}}).encode(),
        "not_json": json.dumps(answer, ensure_ascii=False).encode("latin-1"),
        "enveloped": json.dumps({"pattern": "status", "data": answer}).encode(),
    }

    service.send_raw(bodies[reason])

    eventually(lambda: ada.connection()["status"] == "idle")
    assert ada.connection()["last_verification_error"] == "The external service's answer could not be read"
    eventually(lambda: service.reasons() == [reason])
    assert body_of(service.look()[0]) == bodies[reason]


def dead_letters(rita: Processes, *words: str) -> str:
    return rita.command("flask", "--app", "app", "dead-letters", *words)


def test_five_bad_messages_end_in_five_dead_letters_and_change_nothing(
    rita: Processes, ada: Person, service: Service, rows: Rows
) -> None:
    connection, eve = ada.seeded(), Person(rita.base_url)
    bad = {
        "not_json": b'{"type": "sync", \xff',
        "wrong_shape": json.dumps(a_sync_message(connection, "sync_exploded")).encode(),
        "unknown_type": json.dumps(a_sync_message(connection) | {"type": "gossip"}).encode(),
        "unknown_connection": json.dumps(a_sync_message(connection, connection_id=str(uuid4()))).encode(),
        "tenant_mismatch": json.dumps(a_sync_message(connection, tenant_id=str(eve.organization_id))).encode(),
    }
    before = everything(rows)

    with ada.stream() as seen, eve.stream() as seen_by_eve:
        service.send_raw(*bad.values())
        eventually(lambda: service.waiting(DEAD) == len(bad))

        assert {letter.headers["x-rita-reason"]: body_of(letter) for letter in service.look()} == bad
        assert everything(rows) == before
        assert seen.updates == seen_by_eve.updates == []
    assert service.waiting(STATUS) == 0


def test_an_operator_lists_dead_letters_without_touching_them_and_drops_them(
    rita: Processes, ada: Person, service: Service
) -> None:
    connection = ada.seeded()
    service.send_raw("neither {json} nor reason", json.dumps(a_sync_message(connection, "sync_exploded")))
    eventually(lambda: service.waiting(DEAD) == 2)

    listed = dead_letters(rita, "list")

    assert "2 dead letters" in listed
    assert "neither {json} nor reason" in listed
    assert "not_json" in listed
    assert "wrong_shape" in listed
    eventually(lambda: service.waiting(DEAD) == 2)
    assert "Dropped 2" in dead_letters(rita, "drop", "--yes")
    assert service.waiting(DEAD) == 0


def test_a_replay_applies_what_has_been_mended_and_brings_back_what_has_not(
    rita: Processes, ada: Person, service: Service, rows: Rows
) -> None:
    connection = ada.seeded()
    rows.change("UPDATE data_source_connections SET deleted_at = now() WHERE id = %s", connection["id"])
    service.send(a_sync_message(connection, "sync_completed", documents_processed=3))
    service.send_raw("not to be mended")
    eventually(lambda: service.waiting(DEAD) == 2)

    rows.change("UPDATE data_source_connections SET deleted_at = NULL WHERE id = %s", connection["id"])
    replayed = dead_letters(rita, "replay")

    assert "Replayed 2" in replayed
    eventually(lambda: ada.connection()["last_sync_status"] == "completed")
    eventually(lambda: service.reasons() == ["not_json"])
    assert body_of(service.look()[0]) == b"not to be mended"


def as_a_task(connection: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return what a hostile publisher would send to have a task of the worker run: bodies, and Celery's headers."""
    argument = [["data_source_status", json.dumps(a_sync_message(connection, "sync_completed"))]]
    names = ("status.apply_messages", "housekeeping.purge", "celery.backend_cleanup")
    protocol_1 = [{"task": name, "id": str(uuid4()), "args": [argument], "kwargs": {}} for name in names]
    protocol_2 = [[argument], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    headers = {"lang": "py", "task": names[0], "id": str(uuid4()), "root_id": None, "retries": 0, "argsrepr": "x"}
    return [json.dumps(body) for body in (*protocol_1, protocol_2)], headers


def test_a_raw_message_that_poses_as_a_task_runs_nothing_and_is_dead_lettered(
    rita: Processes, ada: Person, service: Service, rows: Rows
) -> None:
    connection = ada.seeded()
    bodies, headers = as_a_task(connection)
    before = everything(rows)

    service.send_raw(*bodies)
    service.send_raw(*bodies, headers=headers)
    eventually(lambda: service.waiting(DEAD) == 2 * len(bodies))

    assert set(service.reasons()) == {"enveloped"}
    assert sorted(body_of(letter).decode() for letter in service.look()) == sorted(bodies * 2)
    assert everything(rows) == before
    assert rita.children["worker"].is_running


def test_celerys_headers_on_an_honest_message_mean_nothing(ada: Person, service: Service) -> None:
    connection = ada.seeded()
    _, headers = as_a_task(connection)

    service.send_raw(json.dumps(a_verification_message(connection, options={"spaces": "ENG"})), headers=headers)

    eventually(lambda: ada.connection()["latest_options"] == {"spaces": "ENG"})
    assert service.waiting(DEAD) == 0
