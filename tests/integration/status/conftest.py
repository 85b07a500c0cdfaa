"""The status worker: its task as a function of this process, and as processes of its own on queues of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from flask import Flask
from psycopg2.extras import RealDictCursor, execute_values

from app.config import Settings
from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue
from tests.databases import transaction
from tests.e2e.processes import Processes, environment
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name
from tests.e2e.service import DEAD, Service
from tests.factories import a_sync_message
from tests.letters import bury_reliably

TESTS_LIMIT = 10_000
Apply = Callable[..., list[DeadLetter]]


@pytest.fixture
def letters(settings: Settings) -> Iterator[Callable[[], list[DeadLetter]]]:
    """Look at the dead letters, on whatever broker there is; they are gone before and after."""

    def look() -> list[DeadLetter]:
        with open_confirmed_connection(settings.rabbitmq_url) as connection:
            return DeadLetterQueue(connection).list_oldest(limit=TESTS_LIMIT)

    def drop() -> None:
        with open_confirmed_connection(settings.rabbitmq_url) as connection:
            DeadLetterQueue(connection).drop(limit=TESTS_LIMIT)

    drop()
    yield look
    drop()


@pytest.fixture
def apply(app: Flask, celery_module: ModuleType, settings: Settings, letters: Callable[[], list[DeadLetter]]) -> Apply:
    """Call the worker's task as a function, with messages or texts, and return the dead letters so far.

    What it refuses is buried as the consumer does.
    """
    assert app
    assert celery_module
    from tasks.batch_requests import SomeMessagesRefused  # noqa: PLC0415 - as above
    from tasks.status import apply_messages  # noqa: PLC0415

    def call(*messages: Mapping[str, Any] | str, queue: str = "data_source_status") -> list[DeadLetter]:
        texts = [text if isinstance(text, str) else json.dumps(text, default=str) for text in messages]
        try:
            apply_messages([(queue, text) for text in texts])
        except SomeMessagesRefused as some:
            refused = [
                DeadLetter(texts[place].encode(errors="replace"), reason, detail, queue)
                for place, reason, detail in some.refusals
            ]
            bury_reliably(settings.rabbitmq_url, refused)
        return letters()

    return call


class Database:
    """The database as its owner's superuser sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with transaction(self.url, cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def connections(self, count: int) -> list[dict[str, str]]:
        """Make organizations with one connection each, and return these as the API would."""
        made = [(uuid4(), uuid4()) for _ in range(count)]
        with transaction(self.url) as cursor:
            organizations = [(str(organization),) for _, organization in made]
            execute_values(cursor, "INSERT INTO organizations (id) VALUES %s", organizations)
            rows = [
                (str(id_), str(organization), "confluence", "Wiki", str(id_), str(id_)) for id_, organization in made
            ]
            columns = "id, organization_id, type, name, created_by, updated_by"
            execute_values(cursor, f"INSERT INTO data_source_connections ({columns}) VALUES %s", rows)  # noqa: S608
        return [{"id": str(id_), "organization_id": str(organization)} for id_, organization in made]

    def completed(self) -> int:
        """Return how many connections have had a sync that completed."""
        query = "SELECT count(*) AS n FROM data_source_connections WHERE last_sync_status = 'completed'"
        return int(self(query)[0]["n"])

    def row(self, connection_id: str | UUID) -> dict[str, Any]:
        (row,) = self("SELECT * FROM data_source_connections WHERE id = %s", str(connection_id))
        return row

    def operations(self, connection_id: str | UUID) -> list[dict[str, Any]]:
        """Return a connection's operations, oldest first."""
        return self("SELECT * FROM operations WHERE connection_id = %s ORDER BY id", str(connection_id))


@pytest.fixture
def database_rows(app: Flask, admin_database_url: str, database: tuple[str, str]) -> Database:
    assert app
    return Database(superuser_url(admin_database_url, of=database[0]))


def superuser_url(admin_url: str, *, of: str) -> str:
    """Return the superuser's address of the database that another address names."""
    return f"{admin_url.rsplit('/', 1)[0]}/{of.rsplit('/', 1)[1]}"


@pytest.fixture(scope="module")
def worker_queue(rabbitmq_url: str) -> Iterator[Service]:
    """The external service's end of a queue that only this module's workers are bound to."""
    service = Service(rabbitmq_url, queue=f"status.{uuid4().hex[:8]}")
    service.purge(DEAD)
    yield service
    service.delete(service.queue, DEAD)


@pytest.fixture(scope="module")
def worker_environ(
    settings: Settings, flask_app: Flask, database: tuple[str, str], worker_queue: Service
) -> dict[str, str]:
    assert flask_app.extensions["settings"] is settings
    return environment(
        database_urls=database,
        redis_url=settings.redis_url,
        rabbitmq_url=worker_queue.url,
        webhook_url=settings.automation_webhook_url,
        STATUS_QUEUES=worker_queue.queue,
        # A line for each batch.
        LOG_LEVEL="DEBUG",
    )


@pytest.fixture(scope="module")
def processes(worker_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(worker_environ, directory=tmp_path_factory.mktemp("workers")) as made:
        yield made
        made.stop_all()


@pytest.fixture
def worker(processes: Processes) -> Processes:
    """A status worker: the module's own, or a new one if a test has ended it."""
    child = processes.children.get("worker")
    if child is None or not child.is_running:
        processes.start("worker")
    return processes


@contextmanager
def held(database: Database, *connection_ids: str) -> Iterator[None]:
    """Hold connections' rows, so that each batch that names one waits in a child of the pool."""
    with closing(psycopg2.connect(database.url)) as holder:
        query = "SELECT FROM data_source_connections WHERE id = ANY(%s::uuid[]) FOR UPDATE"
        holder.cursor().execute(query, [list(connection_ids)])
        yield
        holder.rollback()


def batches_that_wait(database: Database) -> int:
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return int(database(query)[0]["n"])


def completions(connections: Sequence[Mapping[str, str]]) -> list[Mapping[str, Any]]:
    """Return a completed sync of each connection."""
    return [a_sync_message(connection, "sync_completed") for connection in connections]
