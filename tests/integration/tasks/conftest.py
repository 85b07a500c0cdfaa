"""The tasks as functions of this process, and hands for what brokers and clocks do between tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest
from celery import signals
from celery.contrib.testing.worker import start_worker
from flask import Flask
from psycopg2.extras import RealDictCursor
from redis import Redis

from app.config import Settings
from app.jobs import VERIFICATIONS, WEBHOOKS
from app.outbound.broker import open_confirmed_connection
from app.outbound.events import channel_of_organization
from tasks.flask_context import flask_app_of
from tests.databases import transaction
from tests.factories import Browser, id_made_at

Sql = Callable[..., list[dict[str, Any]]]
Job = tuple[str, list[Any]]


@contextmanager
def a_worker(celery_module: ModuleType) -> Iterator[list[tuple[str, str]]]:
    """Run a webhook worker in this process; yield what it has done, as (task's name, state)."""
    ended: list[tuple[str, str]] = []

    def note(task: Any, state: str, **_: Any) -> None:
        ended.append((task.name, state))

    signals.task_postrun.connect(note)
    celery_module.app.conf.update(broker_heartbeat=2, worker_enable_remote_control=False)
    with start_worker(celery_module.app, pool="threads", concurrency=2, perform_ping_check=False):
        yield ended
    signals.task_postrun.disconnect(note)


@pytest.fixture
def tasks_app(celery_module: ModuleType) -> Flask:
    """The Flask application that webhooks are delivered in."""
    return flask_app_of(celery_module.app)


@pytest.fixture
def run(celery_module: ModuleType) -> Callable[..., None]:
    """Run a task here and now, by the name under which jobs ask for it."""

    def call(name: str, *args: Any, **kwargs: Any) -> None:
        celery_module.app.tasks[name](*args, **kwargs)

    return call


@pytest.fixture
def sql(settings: Settings) -> Sql:
    """Run SQL as the owner: the hand that turns clocks and breaks things."""

    def execute(statement: str, **values: Any) -> list[dict[str, Any]]:
        with transaction(settings.owner_database_url, cursor_factory=RealDictCursor) as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', true)")
            cursor.execute(statement, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    return execute


@pytest.fixture
def take_jobs(settings: Settings, celery_module: ModuleType) -> Iterator[Callable[[], list[Job]]]:
    """Take the jobs that are waiting in the broker, as (task's name, arguments); none is left over for other tests."""

    def take() -> list[Job]:
        taken = []
        with open_confirmed_connection(settings.rabbitmq_url) as connection:
            for name in (VERIFICATIONS, WEBHOOKS):
                queue = celery_module.app.amqp.queues[name].bind(connection.default_channel)
                queue.declare()
                while (message := queue.get(accept=["json"])) is not None:
                    message.ack()
                    taken.append((message.headers["task"], message.decode()[0]))
        return taken

    take()
    yield take
    take()


@pytest.fixture
def beat(run: Callable[..., None], take_jobs: Callable[[], list[Job]]) -> Callable[[], None]:
    """Do what beat and a webhook worker do between them: dispatch what is due, and run the jobs that are waiting."""

    def once() -> None:
        run("housekeeping.dispatch")
        for name, arguments in take_jobs():
            run(name, *arguments)

    return once


class Desk:
    """A person whose presses are real, and the rows that come of them."""

    def __init__(self, web: Flask, sql: Sql) -> None:
        self.browser = Browser(web)
        self._web = web
        self._sql = sql

    def another(self) -> Desk:
        """Return somebody of another organization."""
        return Desk(self._web, self._sql)

    def sync(self) -> str:
        """Press sync on a connection that needs no credentials; return the operation's id."""
        path = f"/api/data-sources/{self.browser.seeded('websearch')}"
        self.browser.put(path, {"config": {"region": "eu"}})
        return self._opened(self.browser.post(f"{path}/sync").json["data"])

    def verify(self) -> str:
        """Press verify; return the operation's id."""
        path = f"/api/data-sources/{self.browser.seeded('confluence')}"
        sent = {"credentials": {"api_token": "hunter2"}, "settings": {"spaces": "ENG"}}
        return self._opened(self.browser.post(f"{path}/verify", sent).json)

    def operation(self, operation_id: str) -> dict[str, Any]:
        """Return an operation's row."""
        (row,) = self._sql("SELECT * FROM operations WHERE id = %(id)s", id=operation_id)
        return row

    def connection(self, operation_id: str) -> dict[str, Any]:
        """Return the row of an operation's connection."""
        connection_id = self.operation(operation_id)["connection_id"]
        (row,) = self._sql("SELECT * FROM data_source_connections WHERE id = %(id)s", id=connection_id)
        return row

    def turn(self, operation_id: str, **fields: Any) -> None:
        """Set fields of an operation, its clocks above all."""
        assignments = ", ".join(f"{name} = %({name})s" for name in fields)
        self._sql(f"UPDATE operations SET {assignments} WHERE id = %(id)s", id=operation_id, **fields)  # noqa: S608

    def pressed_at(self, moment: datetime, operation_id: str) -> str:
        """Make an operation one of an earlier moment, with which its id begins; return that."""
        early = id_made_at(moment)
        self._sql(
            "UPDATE operations SET id = %(early)s, created_at = %(moment)s WHERE id = %(id)s",
            early=early,
            moment=moment,
            id=operation_id,
        )
        return early

    @staticmethod
    def _opened(answer: dict[str, Any]) -> str:
        return str(answer["operation_id"])


@pytest.fixture
def desk(web: Flask, sql: Sql, take_jobs: object, receiver: object) -> Desk:  # noqa: ARG001 - fresh for each
    return Desk(web, sql)


@pytest.fixture
def pushed(redis: Redis, desk: Desk) -> Callable[[], dict[str, Any]]:
    """Return the newest event that was pushed to the organization's browsers."""

    def newest() -> dict[str, Any]:
        ((_, fields),) = redis.xrevrange(f"{channel_of_organization(desk.browser.organization_id)}:events", count=1)
        return dict(json.loads(fields[b"data"]))

    return newest
