"""A credential goes to the external service and nowhere else: looked for in every place where things are kept."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import amqp
import pytest
import requests
from celery import Celery
from redis import Redis

from tests.e2e.browser import Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import FLOWER_AUTH, Processes
from tests.e2e.service import QUEUES, Service, body_of, channel
from tests.factories import a_sync_message, a_verification_message
from tests.places import of_database, of_redis
from tests.receiver import Behaviour, Receiver, answer
from tests.waiting import eventually

CANARY = f"canary{uuid4().hex}"
CREDENTIALS = {"api_token": CANARY, "email": f"{CANARY}@example.org", "url": f"https://{CANARY}.example.org"}


class Tap:
    """A copy of every Celery message and every worker's event, from a queue bound beside theirs."""

    def __init__(self, opened: Any) -> None:
        self._channel = opened
        self._queue = opened.queue_declare("", exclusive=True).queue
        for key in ("webhooks", "housekeeping"):
            opened.queue_bind(self._queue, "rita", key)
        opened.queue_bind(self._queue, "celeryev", "#")
        self.tapped: list[str] = []

    def drain(self) -> list[str]:
        while (message := self._channel.basic_get(self._queue, no_ack=True)) is not None:
            self.tapped.append(f"{message.headers} {body_of(message)!r}")
        return self.tapped


@pytest.fixture
def tap(rita: Processes) -> Iterator[Tap]:
    with channel(rita.environ["RABBITMQ_URL"]) as opened:
        yield Tap(opened)


def of_flower(rita: Processes) -> dict[str, str]:
    """Return every page and answer that could show a task."""
    with requests.Session() as session:
        session.auth = FLOWER_AUTH
        tasks = session.get(f"{rita.flower_url}/api/tasks?limit=1000", timeout=30).json()
        ours = [task_id for task_id, task in tasks.items() if not str(task["name"]).startswith("housekeeping")]
        paths = ["/", "/tasks", "/api/workers", "/api/tasks?limit=1000", *(f"/task/{task_id}" for task_id in ours)]
        return {path: session.get(rita.flower_url + path, timeout=30).text for path in paths}


def of_workers(rita: Processes) -> dict[str, str]:
    """Return what the workers say as `celery inspect` asks them: nothing, for they take no commands."""
    with Celery(broker=rita.environ["RABBITMQ_URL"], set_as_current=False) as asking:
        inspect = asking.control.inspect(timeout=1.5)
        return {what: repr(getattr(inspect, what)()) for what in ("active", "reserved", "scheduled")}


def press(person: Person, type_name: str) -> dict[str, Any]:
    connection = person.connection(type_name)
    path = f"/api/data-sources/{connection['id']}/verify"
    person.call("POST", path, {"credentials": CREDENTIALS, "settings": {"note": CANARY}})
    return connection


def status_of(person: Person, type_name: str) -> Any:
    return person.connection(type_name)["status"]


def answer_after(event: threading.Event) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        event.wait(30)
        answer(200)(handler)

    return behave


def in_clear_or_encoded(text: str) -> bool:
    encoded = base64.urlsafe_b64encode(json.dumps(CREDENTIALS).encode()).decode()
    return CANARY in text or encoded[:40] in text


def test_a_credential_is_found_nowhere_but_at_the_external_service(
    rita: Processes, ada: Person, service: Service, external: Receiver, rows: Rows, own_redis: Redis, tap: Tap
) -> None:
    ada.seeded()
    looked_into = threading.Event()
    with ada.stream() as seen:
        # Never answered: it expires while the others run.
        external.script.append(answer_after(looked_into))
        press(ada, "sharepoint")
        eventually(lambda: external.received)
        while_parked = of_redis(own_redis)
        while_posted = of_workers(rita)
        looked_into.set()
        succeeds = press(ada, "confluence")
        eventually(lambda: len(external.received) == 2)
        service.send(a_verification_message(succeeds, options={"spaces": "ENG"}))
        eventually(lambda: status_of(ada, "confluence") == "idle")

        external.script.extend([answer(500), answer(503)])
        fails = press(ada, "servicenow")
        eventually(lambda: len(external.received) == 5)
        service.send(a_verification_message(fails, "failed", error="No such user"))
        eventually(lambda: status_of(ada, "servicenow") == "idle")

        external.otherwise = answer(503)
        press(ada, "websearch")
        eventually(lambda: ada.connection("websearch")["last_verification_error"])
        eventually(lambda: status_of(ada, "sharepoint") == "idle", within=25)

    assert all(webhook.json["credentials"] == CREDENTIALS for webhook in external.received)
    sealed = {key: value for key, value in while_parked.items() if key.startswith("rita:credentials:")}
    after = of_redis(own_redis)
    pages = of_flower(rita)
    assert len(sealed) == 1, "what is looked into is not where credentials are"
    assert [key for key in after if key.startswith("rita:credentials:")] == []
    assert any("webhooks.deliver" in text for text in tap.drain())
    assert any(path.startswith("/task/") for path in pages)
    places = {
        "redis while parked": list(while_parked.values()),
        "redis": list(after.values()),
        "database": [text for texts in of_database(rows.url).values() for text in texts],
        "broker": tap.tapped + [repr(body_of(message)) for queue in QUEUES for message in service.look(queue)],
        "events": [repr(event) for event in seen.events],
        "flower": list(pages.values()),
        "workers": list(while_posted.values()),
        "logs": rita.all_logs().splitlines(),
    }
    assert set(while_posted.values()) == {"None"}
    assert all(places.values()), "every place was looked into"
    assert [(place, text) for place, texts in places.items() for text in texts if in_clear_or_encoded(text)] == []


def test_no_log_repeats_a_status_message_even_at_its_most_talkative(
    rita: Processes, ada: Person, service: Service
) -> None:
    connection, words = ada.seeded(), f"words{uuid4().hex}"

    service.send(a_sync_message(connection, "sync_failed", error_message=words))
    service.send_raw(f'{{"type": "sync", "error_message": "{words}"}}', f"{words} is not JSON")
    eventually(lambda: ada.connection()["last_sync_error"] == words)
    eventually(lambda: service.waiting("data_source_status.dead") == 2)

    assert [line[:200] for line in rita.all_logs().splitlines() if words in line] == []


def test_the_tap_of_these_tests_would_see_a_secret_in_a_task(rita: Processes, tap: Tap) -> None:
    with channel(rita.environ["RABBITMQ_URL"]) as opened:
        opened.basic_publish(amqp.Message(CANARY), exchange="celeryev", routing_key="worker.heartbeat")

    assert any(CANARY in text for text in eventually(tap.drain))
