"""What beat asks for: find what is due, end what is overdue, forget what is old."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from app import jobs
from app.config import Settings
from app.jobs import JobSender
from app.outbound import clock_offsets, sweep_times
from tests.factories import id_made_at
from tests.integration.tasks.conftest import Desk, Job, Sql

DISPATCH, EXPIRE, PURGE = "housekeeping.dispatch", "housekeeping.expire", "housekeeping.purge"
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
Run = Callable[..., None]
TakeJobs = Callable[[], list[Job]]


def ago(moment: timedelta) -> datetime:
    return datetime.now(UTC) - moment


def test_what_is_due_gets_one_job_and_a_mark_that_keeps_it_from_a_second(
    desk: Desk, run: Run, take_jobs: TakeJobs
) -> None:
    operation_id = desk.sync()
    take_jobs()
    desk.turn(operation_id, queued_until=None)

    run(DISPATCH)
    run(DISPATCH)

    assert take_jobs() == [("webhooks.deliver", [operation_id])]
    assert desk.operation(operation_id)["queued_until"] > datetime.now(UTC) + 5 * SECOND


def test_a_job_that_got_lost_is_sent_again_when_its_mark_is_old(desk: Desk, run: Run, take_jobs: TakeJobs) -> None:
    operation_id = desk.sync()
    take_jobs()
    desk.turn(operation_id, queued_until=ago(SECOND))

    run(DISPATCH)

    assert take_jobs() == [("webhooks.deliver", [operation_id])]


def test_a_sweep_tells_how_far_beats_clock_and_its_own_are_from_the_databases(run: Run, redis: Redis) -> None:
    run(DISPATCH, said_at=time.time() + 3600)

    ahead = clock_offsets.clock_offsets_by_process(redis)

    own = f"webhook_worker on {socket.gethostname()}"
    assert {name: round(seconds, -1) for name, seconds in ahead.items()} == {"beat": 3600, own: 0}


@pytest.mark.parametrize("said", ["an hour", 1e308, -1e12, math.inf, math.nan, {"a": 1}, None])
def test_what_is_no_clocks_word_is_not_kept_and_the_sweep_is_made(run: Run, redis: Redis, said: object) -> None:
    redis.delete(f"{clock_offsets.REDIS_KEY_PREFIX}beat")

    run(DISPATCH, said_at=said)

    assert "beat" not in clock_offsets.clock_offsets_by_process(redis)
    assert sweep_times.sweep_age(redis, sweep_times.DISPATCH_SWEEP) is not None


def test_a_fresh_press_is_left_to_its_own_job(desk: Desk, run: Run, take_jobs: TakeJobs) -> None:
    operation_id = desk.sync()
    desk.turn(operation_id, queued_until=datetime.now(UTC) + SECOND)

    run(DISPATCH)

    assert take_jobs() == [("webhooks.deliver", [operation_id])]


def test_while_many_jobs_wait_few_overdue_ones_are_sent_again_longest_first_and_all_that_have_none(
    desk: Desk, run: Run, take_jobs: TakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONG_QUEUE_LENGTH", 3)
    monkeypatch.setattr(jobs, "MIN_OVERDUE_JOBS_RESENT", 2)
    overdue = [desk.another().sync() for _ in range(4)]
    waiting = [("webhooks.deliver", [operation_id]) for operation_id in overdue]
    fresh = [desk.another().sync() for _ in range(3)]
    for number, operation_id in enumerate(reversed(overdue)):
        desk.turn(operation_id, queued_until=ago(SECOND), next_attempt_at=ago(HOUR - number * SECOND))
    for operation_id in fresh:
        desk.turn(operation_id, queued_until=None)
    waiting += [("webhooks.deliver", [operation_id]) for operation_id in fresh]

    run(DISPATCH)
    run(DISPATCH)

    assert take_jobs() == waiting + [
        ("webhooks.deliver", [operation_id]) for operation_id in (*fresh, overdue[3], overdue[2])
    ]
    assert all(desk.operation(operation_id)["queued_until"] > datetime.now(UTC) for operation_id in overdue)


def test_overdue_jobs_are_sent_again_until_the_queue_is_long(
    desk: Desk, run: Run, take_jobs: TakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LONG_QUEUE_LENGTH", 4)
    monkeypatch.setattr(jobs, "MIN_OVERDUE_JOBS_RESENT", 1)
    overdue = [desk.another().sync() for _ in range(4)]
    take_jobs()
    waiting = desk.another().sync()
    for operation_id in overdue:
        desk.turn(operation_id, queued_until=ago(SECOND))

    run(DISPATCH)

    assert [arguments for _, arguments in take_jobs()] == [[operation_id] for operation_id in (waiting, *overdue[:3])]


@pytest.mark.parametrize(
    "fields",
    [
        {"next_attempt_at": datetime.now(UTC) + timedelta(hours=1)},
        {"claimed_until": datetime.now(UTC) + timedelta(hours=1)},
        {"state": "delivered"},
        {"state": "undelivered"},
    ],
    ids=["not due", "held by a worker", "delivered", "given up"],
)
def test_what_is_not_due_gets_no_job(desk: Desk, run: Run, take_jobs: TakeJobs, fields: dict[str, Any]) -> None:
    operation_id = desk.sync()
    take_jobs()
    desk.turn(operation_id, queued_until=None, **fields)

    run(DISPATCH)

    assert take_jobs() == []


def test_when_the_broker_is_away_the_marks_are_taken_back(
    desk: Desk, run: Run, take_jobs: TakeJobs, tasks_app: Flask, settings: Settings
) -> None:
    operation_id = desk.sync()
    take_jobs()
    desk.turn(operation_id, queued_until=None)
    away = Settings(**settings.model_dump() | {"rabbitmq_url": "amqp://127.0.0.1:1//"})

    with pytest.MonkeyPatch.context() as broken:
        broken.setitem(tasks_app.extensions, "job_sender", JobSender(away))
        run(DISPATCH)

    assert desk.operation(operation_id)["queued_until"] is None
    run(DISPATCH)
    assert take_jobs() == [("webhooks.deliver", [operation_id])]


@pytest.mark.parametrize(
    ("press", "state", "words"),
    [
        ("verify", "unsent", "Rita could not send the request in time; verify again"),
        ("verify", "pending", "could not be delivered to the external service in time; verify again"),
        ("verify", "delivered", "did not answer in time; verify again"),
        ("sync", "unsent", "Rita could not send the request in time; sync again"),
        ("sync", "pending", "could not be delivered to the external service in time; sync again"),
        ("sync", "delivered", "accepted the sync but did not start it in time; sync again"),
        ("sync", "running", "stopped reporting on the sync; sync again"),
    ],
)
def test_what_is_overdue_ends_and_its_organization_is_told_what_was_waited_for(
    desk: Desk, run: Run, sql: Sql, pushed: Callable[[], dict[str, Any]], press: str, state: str, words: str
) -> None:
    operation_id = getattr(desk, press)()
    tried = {"state": "pending"} if state == "unsent" else {"state": state, "attempts": 1}
    desk.turn(operation_id, deadline_at=ago(SECOND), **tried)

    run(EXPIRE)

    field = "last_verification_error" if press == "verify" else "last_sync_error"
    operation, connection = desk.operation(operation_id), desk.connection(operation_id)
    assert (operation["state"], connection["status"]) == ("expired", "idle")
    assert connection[field].endswith(words)
    assert (pushed()["status"], pushed()[field]) == ("idle", connection[field])
    (audited,) = sql("SELECT * FROM audit_logs WHERE action = %(action)s", action=f"{press}.expired")
    assert (audited["actor_type"], str(audited["operation_id"])) == ("system", operation_id)
    assert audited["changes"]["status"] == [{"verify": "verifying", "sync": "syncing"}[press], "idle"]


def test_what_is_not_overdue_goes_on(desk: Desk, run: Run) -> None:
    operation_id = desk.sync()

    run(EXPIRE)

    assert desk.operation(operation_id)["state"] == "pending"


def test_what_a_worker_holds_just_now_is_left_for_the_next_sweep(desk: Desk, run: Run) -> None:
    operation_id = desk.sync()
    desk.turn(operation_id, deadline_at=ago(SECOND), claimed_until=datetime.now(UTC) + 10 * SECOND)

    run(EXPIRE)
    while_it_is_held = desk.operation(operation_id)["state"]
    desk.turn(operation_id, claimed_until=ago(SECOND))
    run(EXPIRE)

    assert while_it_is_held == "pending"
    assert desk.operation(operation_id)["state"] == "expired"


def test_history_past_its_retention_is_forgotten_and_nothing_else(
    desk: Desk, run: Run, sql: Sql, settings: Settings
) -> None:
    keep = settings.operation_retention_days * DAY
    old, young = desk.pressed_at(ago(keep + DAY), desk.sync()), desk.pressed_at(ago(keep + DAY), desk.verify())
    desk.turn(old, state="succeeded", finished_at=ago(keep + DAY))
    desk.turn(young, state="failed", finished_at=ago(keep - DAY))
    running = desk.pressed_at(ago(keep + 10 * DAY), desk.sync())

    run(PURGE)

    left = {str(row["id"]) for row in sql("SELECT id FROM operations")}
    assert left == {young, running}


def test_audit_rows_past_their_retention_are_forgotten_batch_by_batch(
    desk: Desk, run: Run, sql: Sql, settings: Settings
) -> None:
    desk.sync()
    young = len(sql("SELECT id FROM audit_logs"))
    moment = ago((settings.audit_retention_days + 1) * DAY)
    sql(
        "INSERT INTO audit_logs (id, organization_id, actor_type, action, changes, created_at)"
        " SELECT id, %(organization)s, 'system', 'old', '{}', %(moment)s FROM unnest(%(ids)s::uuid[]) AS id",
        organization=str(desk.browser.organization_id),
        moment=moment,
        ids=[id_made_at(moment) for _ in range(2001)],
    )

    run(PURGE)

    left = sql("SELECT action FROM audit_logs")
    assert young > 0
    assert len(left) == young
    assert "old" not in {row["action"] for row in left}
