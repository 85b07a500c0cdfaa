"""Deliveries of one worker whose claims or records fall together: one transaction, and each stands for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import ModuleType
from uuid import UUID

import psycopg2
import pytest
import structlog
from flask import Flask

from app.config import Settings
from tests.integration.tasks.conftest import Desk, Sql
from tests.receiver import Receiver
from tests.waiting import eventually

DELIVER = "webhooks.deliver"
WITHIN = 10


@pytest.fixture
def webhooks(celery_module: ModuleType) -> ModuleType:
    """The module of the task, as a worker imports it."""
    assert celery_module
    from tasks import webhooks as module  # noqa: PLC0415 - not before the environment is set

    return module


class Crowd:
    """Deliveries at the same time, of which the first is held up while it records, and the others wait for it."""

    def __init__(self, run: Callable[..., None], webhooks: ModuleType, receiver: Receiver, settings: Settings) -> None:
        self._run, self._webhooks, self._receiver = run, webhooks, receiver
        self._owner_url = settings.owner_database_url

    @contextmanager
    def delivering(self, first: str, *others: str) -> Iterator[None]:
        """Deliver them, and do the block once the others wait; all have ended after it, and none has failed."""
        with ThreadPoolExecutor(1 + len(others)) as threads:
            with self._held(first):
                asked = [threads.submit(self._run, DELIVER, first)]
                eventually(lambda: len(self._receiver.received) == 1)
                asked += [threads.submit(self._run, DELIVER, other) for other in others]
                eventually(lambda: len(self._webhooks.record_attempt.waiting) == len(others))
                yield
            for one in asked:
                one.result(WITHIN)

    @contextmanager
    def _held(self, operation_id: str) -> Iterator[None]:
        """Hold the row of an operation's connection, which a record has to lock and a claim has not."""
        with closing(psycopg2.connect(self._owner_url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', true)")
            cursor.execute(
                "SELECT id FROM data_source_connections WHERE id ="
                " (SELECT connection_id FROM operations WHERE id = %s) FOR UPDATE",
                [operation_id],
            )
            yield


@pytest.fixture
def crowd(run: Callable[..., None], webhooks: ModuleType, receiver: Receiver, settings: Settings) -> Crowd:
    return Crowd(run, webhooks, receiver, settings)


def states(desk: Desk, *operation_ids: str) -> list[str]:
    return [desk.operation(operation_id)["state"] for operation_id in operation_ids]


def writers(sql: Sql, *operation_ids: str) -> list[str]:
    """Return the number of the transaction that wrote each operation's row last."""
    found = sql("SELECT id, xmin::text FROM operations")
    return [{str(row["id"]): row["xmin"] for row in found}[operation_id] for operation_id in operation_ids]


def test_what_waits_for_a_record_is_recorded_in_one_transaction(crowd: Crowd, desk: Desk, sql: Sql) -> None:
    first, *others = (desk.another().sync() for _ in range(4))

    with crowd.delivering(first, *others):
        pass

    assert states(desk, first, *others) == ["delivered"] * 4
    assert [desk.operation(operation_id)["attempts"] for operation_id in (first, *others)] == [1] * 4
    (alone,), together = writers(sql, first), writers(sql, *others)
    assert len(set(together)) == 1
    assert alone not in together


def test_of_those_together_one_whose_connection_is_gone_is_nobody_elses_matter(
    crowd: Crowd, desk: Desk, sql: Sql
) -> None:
    first, gone, other = (desk.another().sync() for _ in range(3))
    connection_id = desk.operation(gone)["connection_id"]

    with crowd.delivering(first, gone, other):
        sql("UPDATE data_source_connections SET deleted_at = now() WHERE id = %(id)s", id=connection_id)

    assert states(desk, first, gone, other) == ["delivered", "pending", "delivered"]


def test_of_those_together_one_that_cannot_be_written_is_nobody_elses_matter(
    crowd: Crowd, desk: Desk, sql: Sql
) -> None:
    first, broken, other = (desk.another().sync() for _ in range(3))

    with pytest.raises(Exception, match="not this one"), crowd.delivering(first, broken, other):
        sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;"
            " CREATE TRIGGER refuse BEFORE UPDATE ON operations FOR EACH ROW"
            f" WHEN (OLD.id = '{UUID(broken)}') EXECUTE FUNCTION refuse()"
        )
    sql("DROP TRIGGER refuse ON operations; DROP FUNCTION refuse()")

    assert desk.operation(broken)["claimed_until"] is not None
    assert states(desk, first, broken, other) == ["delivered", "pending", "delivered"]


@pytest.mark.parametrize(
    ("under_way", "queued", "seconds"), [(0, 0, 0), (1, 0, 0), (2, 0, 0.05), (6, 2, 0.05), (6, 3, 0), (16, 16, 0)]
)
def test_a_record_waits_for_others_on_their_way_unless_jobs_wait_for_a_thread(
    webhooks: ModuleType, monkeypatch: pytest.MonkeyPatch, under_way: int, queued: int, seconds: float
) -> None:
    requests = list(range(under_way + queued))
    monkeypatch.setattr(webhooks, "active_requests", requests[:under_way])
    monkeypatch.setattr(webhooks, "reserved_requests", requests)

    assert webhooks.record_batching_delay() == seconds


def test_of_two_jobs_for_one_operation_that_are_claimed_together_one_has_it(
    desk: Desk, webhooks: ModuleType, tasks_app: Flask
) -> None:
    operation_id, other = UUID(desk.sync()), UUID(desk.another().sync())

    with tasks_app.app_context():
        claims = webhooks.claim_operations([operation_id, other, operation_id])

    assert [claim and claim.operation.id for claim in claims] == [operation_id, other, None]


def test_what_is_done_for_several_names_none_of_them(webhooks: ModuleType) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(operation_id="mine", task="webhooks.deliver")

    with webhooks.trace_shared_step([UUID(int=1), UUID(int=2)], "record webhooks"):
        together = structlog.contextvars.get_contextvars()
    with webhooks.trace_shared_step([UUID(int=1)], "record webhooks"):
        alone = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()

    assert together == {}
    assert alone == {"operation_id": "mine", "task": "webhooks.deliver"}
