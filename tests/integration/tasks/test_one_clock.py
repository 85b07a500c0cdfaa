"""The database's clock an hour away from this host's: whatever one process writes and another judges goes by it.

The application's role finds a `now()` of the test's before PostgreSQL's own, so nothing of Rita's is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy.engine import make_url

from app import clock
from app.extensions import db
from app.services import backlog
from app.unit_of_work import unit_of_work
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
    apps = (web, *map(celery_module.flask_app_of, (celery_module.app, celery_module.status_app)))
    with closing(psycopg2.connect(settings.owner_database_url)) as owner, owner.cursor() as cursor:
        owner.autocommit = True
        cursor.execute("CREATE SCHEMA another_clock")
        cursor.execute(
            "CREATE FUNCTION another_clock.now() RETURNS timestamptz LANGUAGE sql STABLE"
            f" AS $$ SELECT pg_catalog.now() + interval '{request.param}' $$"
        )
        cursor.execute(f'GRANT USAGE ON SCHEMA another_clock TO "{role}"')
        _as_superuser(admin_database_url, f'ALTER ROLE "{role}" SET search_path = another_clock, pg_catalog, public')
        monkeypatch.setattr(clock._Database, "told", None)  # noqa: SLF001 - another database tells another time
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


def test_nothing_counts_as_overlooked_for_another_hosts_clock(ahead: timedelta, web: Flask, desk: Desk) -> None:
    assert ahead
    desk.sync()

    with web.app_context(), unit_of_work(system=True) as work:
        measured = backlog.measure(work.session, now=work.now)

    assert measured.never_attempted == 0
    assert measured.oldest_open < NEAR
