"""The product's one story, told from outside: a press, a webhook, an answer, and every browser of the organization."""

from __future__ import annotations

import time
from datetime import datetime
from uuid import uuid4

import pytest
import requests

from tests.e2e.browser import CREDENTIALS, Person
from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, Service, body_of
from tests.factories import a_sync_message, a_verification_message
from tests.receiver import Receiver
from tests.waiting import eventually

pytestmark = pytest.mark.brokers

COMMON_KEYS = {
    "source", "action", "user_email", "user_id", "tenant_id", "timestamp", "connection_id", "connection_type",
    "operation_id",
}  # fmt: skip


@pytest.mark.alone
def test_a_verification_is_asked_by_webhook_and_its_answer_reaches_every_browser_of_the_organization(
    rita: Processes, ada: Person, service: Service, external: Receiver
) -> None:
    connection = ada.seeded()
    colleague = Person(rita.base_url, organization_id=ada.organization_id, role="member")
    stranger = Person(rita.base_url)

    with colleague.stream() as seen, stranger.stream() as seen_elsewhere:
        pressed = ada.verify(connection)
        (webhook,) = eventually(lambda: external.received)
        seen.wait_for(lambda data: data.get("status") == "verifying")
        sent_at = time.monotonic()
        service.send(a_verification_message(connection, options={"spaces": "ENG,PROD"}))
        pushed = seen.wait_for(lambda data: data.get("latest_options") == {"spaces": "ENG,PROD"})

    assert pressed["status"] == "verifying"
    assert set(webhook.json) == COMMON_KEYS | {"settings", "credentials"}
    assert (webhook.json["source"], webhook.json["action"]) == ("rita-chat", "verify_credentials")
    assert webhook.json["credentials"] == CREDENTIALS
    assert webhook.json["tenant_id"] == str(ada.organization_id)
    assert webhook.headers["authorization"] == rita.environ["AUTOMATION_AUTH"]
    assert datetime.strptime(webhook.json["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo is not None
    assert webhook.json["timestamp"].endswith("Z")
    assert pushed.type == "data_source_update"
    assert pushed.at - sent_at < 1
    assert pushed.data | {"status": "idle", "last_verification_error": None} == pushed.data
    assert pushed.data["connectionId"] == connection["id"]
    assert seen_elsewhere.updates == []
    assert ada.connection()["latest_options"] == {"spaces": "ENG,PROD"}


@pytest.mark.alone
def test_a_sync_is_asked_without_credentials_and_every_step_of_it_reaches_a_second_browser_within_a_second(
    rita: Processes, ada: Person, service: Service, external: Receiver
) -> None:
    ada.seeded("websearch")
    configured = ada.call("PUT", "/api/data-sources/websearch", {"name": "Web", "config": {"region": "eu"}})["data"]
    colleague = Person(rita.base_url, organization_id=ada.organization_id)
    stranger = Person(rita.base_url)

    with colleague.stream() as seen, stranger.stream() as seen_elsewhere:
        ada.sync(configured)
        (webhook,) = eventually(lambda: external.received)
        operation_id = webhook.json["operation_id"]
        lags = []
        for status, shown in (("sync_started", "syncing"), ("sync_completed", "idle")):
            sent_at = time.monotonic()
            service.send(a_sync_message(configured, status, operation_id=operation_id, documents_processed=7))
            pushed = seen.wait_for(
                lambda data, shown=shown: (
                    data.get("status") == shown and "documentsProcessed" in data and data["documentsProcessed"] == 7
                )
            )
            lags.append(pushed.at - sent_at)

    assert set(webhook.json) == COMMON_KEYS | {"connection_name", "config"}
    assert webhook.json["action"] == "data_source_sync_requested"
    assert (webhook.json["connection_name"], webhook.json["config"]) == ("Web", {"region": "eu"})
    assert max(lags) < 1
    assert pushed.data["last_sync_status"] == "completed"
    assert pushed.data["last_sync_error"] is None
    assert pushed.data["timestamp"]
    assert seen_elsewhere.updates == []


def test_a_sync_that_the_service_starts_by_itself_is_shown_too(ada: Person, service: Service) -> None:
    connection = ada.seeded("sharepoint")

    with ada.stream() as seen:
        service.send(a_sync_message(connection, "sync_started"))
        seen.wait_for(lambda data: data.get("status") == "syncing")
        service.send(a_sync_message(connection, "sync_failed", error_message="The site is gone"))
        ended = seen.wait_for(lambda data: data.get("last_sync_status") == "failed")

    assert ended.data["status"] == "idle"
    assert ended.data["last_sync_error"] == "The site is gone"


def test_a_queue_that_rita_made_first_is_the_one_that_the_service_declares_afterwards(
    rita: Processes, ada: Person
) -> None:
    late = Service(rita.environ["RABBITMQ_URL"], queue=f"e2e.{uuid4().hex[:8]}")
    connection = ada.seeded()
    try:
        rita.start("worker", as_name="second_worker", STATUS_QUEUES=late.queue)

        late.declare()
        late.send(a_sync_message(connection, "sync_completed"))

        eventually(lambda: ada.connection()["last_sync_status"] == "completed")
        rita.stop("second_worker")
    finally:
        late.delete(late.queue)


def test_no_exchange_but_the_default_one_leads_to_the_status_queue(rita: Processes, service: Service) -> None:
    # Rita's own exchanges, and the one that Celery would bind every queue to, with any key that it could have chosen.
    for exchange in ("rita", "celery"):
        for key in ("data_source_status", "celery", ""):
            service.publish("never to arrive", exchange=exchange, key=key)
    service.send_raw("the only one that arrives")

    eventually(lambda: service.waiting(DEAD))
    assert [body_of(letter) for letter in service.look()] == [b"the only one that arrives"]
    assert rita.children["worker"].is_running


@pytest.mark.parametrize("header", ["PATH_INFO", "SCRIPT_NAME", "X-Forwarded-Prefix"])
def test_no_header_chooses_the_path_that_is_served(rita: Processes, header: str) -> None:
    answer = requests.get(f"{rita.base_url}/nowhere", headers={header: "/healthz"}, timeout=10)

    assert answer.status_code == 404
