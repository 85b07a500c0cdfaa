"""Messages on the queues of jobs that are none of ours, by whoever may write to the default exchange."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Message
from kombu.simple import SimpleQueue

from app.config import Settings
from app.jobs import DELIVER_WEBHOOK_TASK, HOUSEKEEPING, WEBHOOKS
from app.outbound.broker import OutgoingMessage, celery_task_queue, open_confirmed_connection, publish_to_queue
from tasks import job_validation
from tasks.beat_schedule import EXPIRE_TASK
from tasks.job_validation import MAX_JOB_BYTES, InvalidJob
from tests.integration.tasks.conftest import Job, a_worker
from tests.waiting import eventually

NOTHING: dict[str, None] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
AFTERWARDS = [
    {"task": EXPIRE_TASK, "args": [], "kwargs": {}, "options": {"routing_key": "of_a_stranger", "exchange": ""}}
]


def a_job(args: Any = (), embed: Any = None, body: bytes | None = None, **headers: Any) -> Message:
    content = json.dumps([list(args), {}, embed or NOTHING]).encode() if body is None else body
    said = {"task": DELIVER_WEBHOOK_TASK, "id": str(uuid4())} | headers
    return Message(content, content_type="application/json", content_encoding="utf-8", headers=said)


REFUSED = {
    "an id that is a number": a_job(id=5),
    "an id that is no UUID": a_job(id="x" * 1_000),
    "no id": a_job(id=None),
    "no task": a_job(task=None),
    "a task of Celery's own": a_job(task="celery.map"),
    "a task of nobody's": a_job(task="x" * 100_000),
    "the shape of Celery's first protocol": a_job(body=b'{"task": "webhooks.deliver", "id": "1", "args": []}'),
    "arguments that are none": a_job(body=b"[5, 5, 5]"),
    "no JSON": a_job(body=b"\x80\x04N."),
    "deep JSON": a_job(body=b"[" * 10_000),
    "more than a job": a_job(args=["x" * MAX_JOB_BYTES]),
    "no arguments": a_job(),
    "more arguments than the task has": a_job([str(uuid4()), "sync", str(uuid4()), "and more"]),
}


def deliver(operation_id: str, kind: str | None = None, organization_id: str | None = None, **_: object) -> None:
    """Have the parameters of the task."""


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_job_is_refused_in_few_words(kind: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        job_validation.validate_and_rewrite_job(REFUSED[kind], functions_by_task_name={DELIVER_WEBHOOK_TASK: deliver})

    assert len(repr(refused.value.log_fields)) < 300


def test_of_a_job_no_more_is_taken_than_a_task_its_arguments_and_an_id() -> None:
    wanted = str(uuid4())
    job = a_job(
        [wanted],
        {"callbacks": AFTERWARDS, "errbacks": AFTERWARDS, "chain": AFTERWARDS, "chord": AFTERWARDS[0]},
        eta="2200-01-01T00:00:00Z",
        expires="2001-01-01T00:00:00Z",
        timelimit=[0.001, 0.001],
        group="a",
        retries="x",
        shadow="another name",
        argsrepr="x" * 100_000,
        stamped_headers=5,
    )

    job_validation.validate_and_rewrite_job(job, functions_by_task_name={DELIVER_WEBHOOK_TASK: deliver})

    assert json.loads(job.body) == [[wanted], {}, NOTHING]
    assert job.headers["task"] == DELIVER_WEBHOOK_TASK
    assert (job.headers["eta"], job.headers["expires"], job.headers["timelimit"]) == (None, None, [None, None])
    assert (job.headers["group"], job.headers["retries"], job.headers["argsrepr"]) == (None, 0, repr([wanted]))
    assert not job.headers.keys() & {"shadow", "stamped_headers"}


@pytest.fixture
def stranger(settings: Settings, take_jobs: Callable[[], list[Job]]) -> Iterator[Connection]:
    """Somebody at the broker, with a queue of their own; no job is waiting."""
    take_jobs()
    with open_confirmed_connection(settings.rabbitmq_url) as connection:
        for name in (WEBHOOKS, HOUSEKEEPING):
            celery_task_queue(name).bind(connection.default_channel).declare()
        yield connection
        connection.default_channel.queue_delete("of_a_stranger")


@pytest.mark.rabbitmq
def test_a_worker_outlives_every_one_of_them_and_publishes_nothing_for_a_stranger(
    celery_module: ModuleType, stranger: Connection
) -> None:
    said = {"content_type": "application/json", "content_encoding": "utf-8"}
    packed = {"task": DELIVER_WEBHOOK_TASK, "id": str(uuid4()), "compression": "application/x-gzip"}

    with closing(SimpleQueue(stranger, "of_a_stranger")) as own, a_worker(celery_module) as done:
        for job in REFUSED.values():
            publish_to_queue(stranger.default_channel, OutgoingMessage(WEBHOOKS, job.body, job.headers, said))
        publish_to_queue(
            stranger.default_channel, OutgoingMessage(WEBHOOKS, zlib.compress(bytes(100_000)), packed, said)
        )
        last = a_job(
            embed=NOTHING | {"chain": AFTERWARDS, "callbacks": AFTERWARDS}, task=EXPIRE_TASK, eta="2200-01-01T00:00:00Z"
        )
        publish_to_queue(stranger.default_channel, OutgoingMessage(HOUSEKEEPING, last.body, last.headers, said))
        eventually(lambda: done)
        celery_module.app.send_task(DELIVER_WEBHOOK_TASK, args=[str(uuid4())], queue=WEBHOOKS)
        eventually(lambda: (DELIVER_WEBHOOK_TASK, "SUCCESS") in done)

        assert done == [(EXPIRE_TASK, "SUCCESS"), (DELIVER_WEBHOOK_TASK, "SUCCESS")]
        assert own.qsize() == 0


@pytest.mark.parametrize("said", [["of-nobody"], [5], [None], [["x"]], [str(uuid4()), {}, []]])
def test_a_job_that_names_no_operation_is_one_line_of_the_log(
    run: Callable[..., None], said: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    run(DELIVER_WEBHOOK_TASK, *said)

    told = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
    assert told == (["job_refused"] if len(said) == 1 else [])
    assert not any(record.exc_info for record in caplog.records)
