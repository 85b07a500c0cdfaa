"""The database's clock an hour away from this host's: whatever one process writes and another judges goes by it.

The application's role finds a `now()` of the test's before PostgreSQL's own, so nothing of Rita's is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg2
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy.engine import make_url

from app import database_clock
from app.config import Settings
from app.extensions import db
from app.outbound import events
from app.services import backlog
from app.unit_of_work import unit_of_work
from tasks.flask_context import flask_app_of
from tests.e2e.browser import Person
from tests.e2e.processes import Processes, environment
from tests.factories import a_sync_message, a_verification_message, apply_messages
from tests.host_clock import a_host_clock
from tests.integration.tasks.conftest import Desk
from tests.receiver import Receiver

DELIVER, DISPATCH, EXPIRE = "webhooks.deliver", "housekeeping.dispatch", "housekeeping.expire"
NEAR = timedelta(minutes=1)
Run = Callable[..., None]


@pytest.fixture(params=["-1 hour", "1 hour"])
def ahead(
    request: pytest.FixtureRequest,
    web: Flask,
    celery_module: ModuleType,
    admin_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[timedelta]:
    """How far the database is ahead of this host, for every connection that is made from here on."""
    settings = web.extensions["settings"]
    role = make_url(settings.database_url).username
    apps = (web, *map(flask_app_of, (celery_module.app, celery_module.status_app)))
    with closing(psycopg2.connect(settings.owner_database_url)) as owner, owner.cursor() as cursor:
        owner.autocommit = True
        cursor.execute("CREATE SCHEMA another_clock")
        for name in ("now", "clock_timestamp"):
            cursor.execute(
                f"CREATE FUNCTION another_clock.{name}() RETURNS timestamptz LANGUAGE sql"
                f" AS $$ SELECT pg_catalog.{name}() + interval '{request.param}' $$"
            )
        cursor.execute(f'GRANT USAGE ON SCHEMA another_clock TO "{role}"')
        _as_superuser(admin_database_url, f'ALTER ROLE "{role}" SET search_path = another_clock, pg_catalog, public')
        monkeypatch.setattr(database_clock._LastDatabaseTime, "reading", None)  # noqa: SLF001 - another database tells another time
        _connect_anew(*apps)
        yield timedelta(hours=-1 if request.param.startswith("-") else 1)
        _as_superuser(admin_database_url, f'ALTER ROLE "{role}" RESET search_path')
        _connect_anew(*apps)
        cursor.execute("DROP SCHEMA another_clock CASCADE")


def _as_superuser(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _connect_anew(*apps: Flask) -> None:
    for app in apps:
        with app.app_context():
            db.engine.dispose()


def is_of_the_database(moment: datetime, ahead: timedelta) -> bool:
    return abs(moment - (datetime.now(UTC) + ahead)) < NEAR


@pytest.mark.parametrize("press", ["sync", "verify"])
def test_a_press_is_due_when_its_job_comes_and_all_of_it_is_of_one_clock(
    ahead: timedelta, desk: Desk, run: Run, receiver: Receiver, press: str
) -> None:
    operation_id = getattr(desk, press)()
    pressed = desk.operation(operation_id)

    run(DELIVER, operation_id)

    assert len(receiver.received) == 1
    delivered = desk.operation(operation_id)
    assert delivered["state"] == "delivered"
    moments = [pressed[name] for name in ("created_at", "next_attempt_at", "queued_until")]
    assert all(is_of_the_database(moment, ahead) for moment in (*moments, delivered["delivered_at"]))
    assert timedelta(0) < pressed["deadline_at"] - pressed["created_at"] < timedelta(hours=1)


def test_what_is_due_is_sent_and_what_is_not_overdue_goes_on(
    ahead: timedelta, desk: Desk, run: Run, take_jobs: Callable[[], Any]
) -> None:
    operation_id = desk.sync()
    take_jobs()
    desk.turn(operation_id, queued_until=None)

    run(EXPIRE)
    run(DISPATCH)

    assert take_jobs() == [(DELIVER, [operation_id])]
    found = desk.operation(operation_id)
    assert found["state"] == "pending"
    assert is_of_the_database(found["queued_until"], ahead)


def test_ids_of_operations_and_of_the_trail_begin_with_the_databases_moment(ahead: timedelta, desk: Desk) -> None:
    operation_id = desk.verify()
    path = f"/api/data-sources/{desk.browser.connection('confluence')['id']}"
    trail = [entry["id"] for entry in desk.browser.get(f"{path}/audit").json["data"]]

    moments = [int(made.replace("-", "")[:12], 16) / 1000 for made in (operation_id, *trail)]

    assert all(is_of_the_database(datetime.fromtimestamp(moment, UTC), ahead) for moment in moments)


@pytest.fixture
def colleague(
    settings: Settings, rabbitmq_url: str, receiver: Receiver, desk: Desk, tmp_path: Path
) -> Iterator[Person]:
    """Somebody of the same organization whose presses go through a host that is a minute ahead."""
    clock = a_host_clock(tmp_path)
    clock.set_ahead(60)
    environ = environment(
        database_urls=(settings.owner_database_url, settings.database_url),
        redis_url=settings.redis_url,
        rabbitmq_url=rabbitmq_url,
        webhook_url=receiver.url,
        SEAL_KEYS=",".join(settings.seal_keys),
    )
    with Processes(environ | clock.environ, directory=tmp_path) as processes:
        processes.start("web")
        made = Person(processes.base_url, organization_id=desk.browser.organization_id)
        ahead = parsedate_to_datetime(made.ask("GET", "/healthz").headers["Date"]) - datetime.now(UTC)
        assert abs(ahead - timedelta(minutes=1)) < timedelta(seconds=10)
        yield made


def hear(web: Flask, message: dict[str, Any]) -> None:
    """Apply a message and tell the organization's pages."""
    applied = apply_messages(web, message)
    with web.app_context():
        events.publish_changes(applied.changes)


@pytest.mark.parametrize("kind", ["sync", "verify"])
def test_after_a_press_through_a_host_that_is_ahead_the_next_ones_progress_is_shown(
    desk: Desk, colleague: Person, web: Flask, redis: Redis, kind: str
) -> None:
    # What is asked for here is only so that there is something to press on.
    before = desk.operation(getattr(desk, kind)())
    found = {"id": str(before["connection_id"]), "organization_id": str(before["organization_id"])}
    path = f"/api/data-sources/{found['id']}"
    answer = partial(a_sync_message if kind == "sync" else a_verification_message, found)
    hear(web, answer(operation_id=str(before["id"])))
    pressed = colleague.call("POST", f"{path}/{kind}", {"credentials": {"api_token": "t"}} if kind == "verify" else {})
    earlier = (pressed if kind == "verify" else pressed["data"])["operation_id"]
    hear(web, answer(operation_id=earlier))

    later = getattr(desk, kind)()
    if kind == "sync":
        hear(web, a_sync_message(found, "sync_started", operation_id=later))

    assert later > earlier
    entries = redis.xrange(f"{events.channel_of_organization(desk.browser.organization_id)}:events")
    told = [json.loads(fields[b"data"]) for _, fields in entries]
    steps = [each["change"] for each in told if each.get("operation_id") == later]
    assert steps == (["sync.requested", "sync.started"] if kind == "sync" else ["verify.requested"])
    history = desk.browser.get(f"{path}/operations").json["data"]
    assert [each["id"] for each in history] == [later, earlier, str(before["id"])]
    assert history[1]["created_at"] < history[0]["created_at"]


def test_what_a_message_changes_and_the_event_of_it_are_of_the_databases_clock(
    ahead: timedelta, web: Flask, desk: Desk, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = desk.operation(desk.sync())
    found = {"id": str(operation["connection_id"]), "organization_id": str(operation["organization_id"])}
    # In a process that has asked for it nowhere else.
    monkeypatch.setattr(database_clock._LastDatabaseTime, "reading", None)  # noqa: SLF001

    hear(web, a_sync_message(found, "sync_started", operation_id=str(operation["id"])))

    assert is_of_the_database(desk.operation(str(operation["id"]))["started_at"], ahead)
    (_, fields), *_ = redis.xrevrange(f"{events.channel_of_organization(desk.browser.organization_id)}:events")
    assert is_of_the_database(datetime.fromisoformat(json.loads(fields[b"data"])["timestamp"]), ahead)


def test_nothing_counts_as_overlooked_for_another_hosts_clock(ahead: timedelta, web: Flask, desk: Desk) -> None:
    assert ahead
    desk.sync()

    with web.app_context(), unit_of_work(all_tenants=True) as work:
        measured = backlog.measure_backlog(work.session, now=work.now)

    assert measured.never_attempted_count == 0
    assert measured.oldest_open_age < NEAR
