"""A hundred people press one button at the same moment, and several web processes answer them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.e2e.browser import CREDENTIALS, Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import Processes
from tests.e2e.service import Service
from tests.factories import a_sync_message, a_verification_message, in_parallel
from tests.receiver import Receiver
from tests.waiting import eventually

PRESSES = 100
CODES = {"verify": "verification_in_progress", "sync": "sync_in_progress"}


@pytest.fixture(scope="module")
def crowd_url(rita: Processes) -> Iterator[str]:
    """Three web processes behind one port."""
    port = str(free_port())
    # Whoever comes last on a busy machine comes before the deadline, too.
    rita.start("web", as_name="crowd", PORT=port, WEB_PROCESSES="3", VERIFY_DEADLINE_SECONDS="60")
    yield f"http://{LOOPBACK}:{port}"
    rita.stop("crowd")


@pytest.mark.parametrize("kind", ["verify", "sync"])
def test_a_hundred_presses_at_once_are_one_operation_one_webhook_and_99_answers_that_name_it(
    kind: str, crowd_url: str, external: Receiver, rows: Rows, service: Service
) -> None:
    ada = Person(crowd_url)
    ada.seeded("websearch")
    connection = ada.call("PUT", "/api/data-sources/websearch", {"enabled": True})["data"]
    body = {"credentials": CREDENTIALS} if kind == "verify" else {}
    path = f"{crowd_url}/api/data-sources/{connection['id']}/{kind}"

    def press(_: int) -> Any:
        return requests.post(path, json=body, headers=ada.headers, timeout=60)

    answers = in_parallel(PRESSES, press)

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: PRESSES - 1}
    (row,) = rows("SELECT id FROM operations WHERE connection_id = %s", connection["id"])
    refusals = [answer.json() for answer in answers if answer.status_code == requests.codes.conflict]
    assert {refusal["code"] for refusal in refusals} == {CODES[kind]}
    assert {refusal["operation"]["id"] for refusal in refusals} == {str(row["id"])}
    eventually(lambda: rows.operation(connection["id"], kind)["state"] == "delivered")
    assert [webhook.json["operation_id"] for webhook in external.received] == [str(row["id"])]
    message = a_verification_message if kind == "verify" else a_sync_message
    service.send(message(connection, operation_id=str(row["id"])))
    eventually(lambda: ada.connection("websearch")["status"] == "idle")
