"""What this release sends to others and to itself: its jobs, status messages, webhooks and events, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

from redis import Redis

from app import jobs
from app.config import Settings
from app.domain.delivery_job import DeliveryJob
from app.outbound.broker import open_confirmed_connection
from app.outbound.events import channel_of_organization
from tests.factories import a_sync_message, a_verification_message
from tests.integration.tasks.conftest import Desk
from tests.project import PROJECT
from tests.receiver import Receiver

RECORDED = PROJECT / "tests" / "recorded"
# What a process calls itself names the machine.
ORIGIN = "somebody@somewhere"


def releases() -> list[str]:
    return sorted(folder.name for folder in RECORDED.iterdir() if folder.is_dir())


def recorded(release: str) -> dict[str, Any]:
    """Return a release's recording, by what it is of."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((RECORDED / release).glob("*.json"))}


def write(release: str, recording: dict[str, Any]) -> None:
    (RECORDED / release).mkdir(exist_ok=True)
    for name, content in recording.items():
        (RECORDED / release / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def jobs_sent(celery_module: ModuleType, settings: Settings) -> list[dict[str, Any]]:
    """Return every kind of job as it lies in the broker."""
    sender = jobs.JobSender(settings)
    assert sender.send_delivery_job(DeliveryJob(uuid4(), "sync", uuid4()))
    for entry in celery_module.app.conf.beat_schedule.values():
        celery_module.app.tasks[entry["task"]].apply_async(**entry["options"])
    found = []
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        for queue in jobs.task_queues():
            bound = queue.bind(connection.default_channel)
            while (message := bound.get(accept=["json"])) is not None:
                message.ack()
                # A quorum queue adds its own, such as `x-delivery-count`.
                sent = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
                found.append(
                    {
                        "routing_key": queue.name,
                        "content_type": message.content_type,
                        "content_encoding": message.content_encoding,
                        "properties": {"correlation_id": message.properties["correlation_id"]},
                        "headers": sent | {"origin": ORIGIN},
                        "body": message.body if isinstance(message.body, str) else bytes(message.body).decode(),
                    }
                )
    return found


def messages_taken() -> list[dict[str, Any]]:
    """Return the messages of docs/integration.md, sections 3.2, 3.3 and 3.6, as services of this release send them."""
    address = {"id": str(uuid4()), "organization_id": str(uuid4())}
    old = {"connection_id": address["id"], "tenant_id": address["organization_id"]}
    return [
        a_verification_message(address, options={"spaces": "ENG,PROD"}, operation_id=str(uuid4())),
        a_verification_message(address, "failed", error="The token was revoked", operation_id=str(uuid4())),
        a_sync_message(address, "sync_started", documents_processed=3, operation_id=str(uuid4())),
        a_sync_message(address, "sync_completed", documents_processed=42, operation_id=str(uuid4())),
        a_sync_message(address, "sync_failed", error_message="No rights", operation_id=str(uuid4())),
        a_sync_message(address, "sync_completed", documents_processed=42),
        old | {"status": "success", "options": {"spaces": "ENG,PROD"}},
        old | {"status": "completed", "documents_processed": 42},
        old | {"status": "failed", "error": "No rights"},
    ]


def everything(
    desk: Desk, redis: Redis, receiver: Receiver, apply: Callable[..., None], run: Callable[..., None]
) -> dict[str, Any]:
    """Go through a verification, a sync and a configuration; return the webhooks and the events that came of it."""
    for kind, report in (("verify", a_verification_message), ("sync", a_sync_message)):
        operation_id = getattr(desk, kind)()
        run(jobs.DELIVER_WEBHOOK_TASK, operation_id)
        row = desk.operation(operation_id)
        address = {"id": str(row["connection_id"]), "organization_id": str(row["organization_id"])}
        apply(report(address, operation_id=operation_id))
    entries: list[Any] = redis.xrange(f"{channel_of_organization(UUID(str(row['organization_id'])))}:events")
    events = [(fields[b"type"].decode(), json.loads(fields[b"data"])) for _, fields in entries]
    return {
        "webhooks": {request.json["action"]: request.json for request in receiver.received},
        "events": {data["change"]: {"type": type_, "data": data} for type_, data in events},
    }


def lacks(now: Any, then: Any, place: str = "") -> list[str]:
    """Return the places of `then` that `now` does not have, or has as something else; null may be anything."""
    if now is None or then is None:
        return []
    if type(now) is not type(then):
        return [f"{place}: {type(now).__name__} instead of {type(then).__name__}"]
    if not isinstance(then, dict):
        return []
    missing = [f"{place}.{key}" for key in then.keys() - now.keys()]
    return missing + [
        found for key in then.keys() & now.keys() for found in lacks(now[key], then[key], f"{place}.{key}")
    ]
