"""Old and new processes run side by side during an upgrade: each takes what the other sends.

`tests/recorded` holds what each release sends. Before the next release: RECORD=1 make test ARGS='-k recording'.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from kombu import Producer
from redis import Redis

from app import jobs
from app.config import Settings
from app.domain.status_messages import parse_report
from app.outbound import events
from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetterQueue
from devstack import reports
from tests.integration.tasks import recording
from tests.integration.tasks.conftest import Desk, a_worker
from tests.project import PROJECT
from tests.receiver import Receiver
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

THIS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
RELEASES = recording.releases()
# What the next release may add wherever it likes.
LATER = {"of_a_later_release": {"a": [1]}}
QUEUE = "data_source_status"


@pytest.fixture
def apply(celery_module: ModuleType, settings: Settings) -> Callable[..., None]:
    """Take status messages by the worker's own task; none may become a dead letter."""

    def call(*messages: dict[str, Any]) -> None:
        from tasks.status import apply_messages  # noqa: PLC0415 - not before the environment is set

        assert celery_module
        apply_messages([(QUEUE, json.dumps(message, default=str)) for message in messages])
        with open_confirmed_connection(settings.rabbitmq_url) as connection:
            assert DeadLetterQueue(connection).list_oldest(limit=10) == []

    return call


@pytest.fixture
def sent_today(
    celery_module: ModuleType,
    settings: Settings,
    desk: Desk,
    redis: Redis,
    receiver: Receiver,
    apply: Callable[..., None],
    run: Callable[..., None],
    take_jobs: Callable[[], Any],
) -> dict[str, Any]:
    told = recording.everything(desk, redis, receiver, apply, run)
    take_jobs()
    sent = recording.jobs_sent(celery_module, settings)
    return {"jobs": {job["headers"]["task"]: job for job in sent}, "messages": recording.messages_taken(), **told}


def test_the_recording_of_this_release_is_what_it_sends(sent_today: dict[str, Any]) -> None:
    today = json.loads(json.dumps(sent_today, default=str))
    if os.environ.get("RECORD"):
        recording.write(THIS, today)

    kept = recording.recorded(THIS)

    assert set(kept) == set(today)
    assert recording.lacks(kept, today) == [], "RECORD=1 make test ARGS='-k recording'"


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_that_a_release_sent_is_missing_today(sent_today: dict[str, Any], release: str) -> None:
    """Pages and external services of that time find all that they know."""
    kept = recording.recorded(release)
    today = json.loads(json.dumps(sent_today, default=str))

    assert recording.lacks(today["webhooks"], kept["webhooks"]) == []
    assert recording.lacks(today["events"], kept["events"]) == []


@pytest.mark.parametrize("later", [{}, LATER], ids=["as recorded", "with more in it"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_jobs_of_a_release_are_done_today(
    desk: Desk,
    celery_module: ModuleType,
    settings: Settings,
    receiver: Receiver,
    take_jobs: Callable[[], Any],
    release: str,
    later: dict[str, Any],
) -> None:
    operation_id = desk.sync()
    take_jobs()
    kept = recording.recorded(release)["jobs"]

    with a_worker(celery_module) as done, open_confirmed_connection(settings.rabbitmq_url) as connection:
        for job in kept.values():
            _publish(connection, job, operation_id=operation_id, later=later)
        eventually(lambda: len(done) == len(kept))

    assert {name for name, _ in done} == set(kept)
    assert {state for _, state in done} == {"SUCCESS"}
    assert [request.json["operation_id"] for request in receiver.received] == [operation_id]


def _publish(connection: Any, job: dict[str, Any], *, operation_id: str, later: dict[str, Any]) -> None:
    arguments, keywords, embedded = json.loads(job["body"])
    expires = job["headers"]["expires"] and (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    if job["headers"]["task"] == jobs.DELIVER_WEBHOOK_TASK:
        arguments[0] = operation_id
    queues = {queue.name: queue for queue in jobs.task_queues()}
    Producer(connection.default_channel).publish(
        json.dumps([arguments, keywords | later, embedded | later]),
        exchange=queues[job["routing_key"]].exchange,
        routing_key=job["routing_key"],
        headers=job["headers"] | {"expires": expires} | later,
        content_type=job["content_type"],
        content_encoding=job["content_encoding"],
        **job["properties"],
    )


@pytest.mark.parametrize("later", [{}, LATER], ids=["as recorded", "with more in it"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_messages_of_services_of_a_release_are_taken_today(
    desk: Desk, apply: Callable[..., None], run: Callable[..., None], release: str, later: dict[str, Any]
) -> None:
    for message in recording.recorded(release)["messages"]:
        person = desk.another()
        kind = parse_report(json.dumps(message), queue_name=QUEUE).kind
        operation_id = getattr(person, kind)()
        run(jobs.DELIVER_WEBHOOK_TASK, operation_id)
        row = person.operation(operation_id)
        address = {"connection_id": str(row["connection_id"]), "tenant_id": str(row["organization_id"])}
        echoed = {"operation_id": operation_id} if "operation_id" in message else {}

        apply(message | address | echoed | later)

        assert person.operation(operation_id)["state"] in ("running", "succeeded", "failed"), message


@pytest.mark.parametrize("release", RELEASES)
def test_the_webhooks_and_events_of_a_release_are_understood_today(release: str) -> None:
    kept = recording.recorded(release)

    for webhook in kept["webhooks"].values():
        assert reports.WEBHOOK.validate_python(webhook | LATER).operation_id == webhook["operation_id"]
    for event in kept["events"].values():
        # As a web process of that time or of this hands it on, whatever is in it.
        published = {"type": event["type"], "data": json.dumps(event["data"] | LATER), "id": "1763812800000-0"}
        assert (
            json.loads(events.parse_published_event(json.dumps(published | LATER).encode()).data)
            == event["data"] | LATER
        )
