"""Marked statements go as PREPARE and EXECUTE, whose plans live for a second, and behind a pooler as they are."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import Text, bindparam, func, literal, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, OperationalError
from uuid_utils.compat import uuid7

from app import cached_plans
from app.config import Settings
from app.domain.actors import Actor
from app.domain.aggregate import ConnectionAggregate, Operation, row_values
from app.extensions import Session
from app.services import aggregate_store, connections, deliveries, tables
from app.services import bulk_writes as stored_rows
from app.unit_of_work import unit_of_work
from devstack.child import LOOPBACK, Child, wait_until
from devstack.ports import free_port
from devstack.postgres import UNPRIVILEGED_USER
from tests.factories import a_token, forget_organizations, in_parallel, rows
from tests.project import program

PLANS = text("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements ORDER BY prepare_time, name")


def of_value(value: str) -> Any:
    """A statement with a literal, which is a part of it, and a parameter."""
    given = func.concat(literal(value, Text), bindparam("given", type_=Text))
    return cached_plans.with_cached_plan(select(given.label("answer")))


def ask(session: Session, value: str, given: str) -> Any:
    return session.scalar(of_value(value), {"given": given})


def plans(session: Session) -> list[tuple[str, int, int]]:
    return [tuple(row) for row in session.execute(PLANS)]


@pytest.fixture(autouse=True)
def _a_long_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_plans, "FIRST_PLAN_LIFETIME", 600)


@pytest.fixture
def house(another_app: Callable[..., Flask]) -> Iterator[Flask]:
    """An application of one connection, so that each unit of work has the one before's."""
    app = another_app(database_pool_size=1)
    with app.app_context():
        yield app


@pytest.mark.usefixtures("house")
def test_a_marked_statement_is_planned_once_for_all_its_uses() -> None:
    with unit_of_work(all_tenants=True) as work:
        first = [ask(work.session, "a", "1"), ask(work.session, "a", "2")]
    with unit_of_work(all_tenants=True) as work:
        second = ask(work.session, "a", "3")
        found = plans(work.session)

    assert (first, second) == (["a1", "a2"], "a3")
    ((statement, generic, custom),) = found
    assert "$1" in statement
    assert (generic, custom) == (3, 0)


@pytest.mark.usefixtures("house")
def test_what_is_not_marked_goes_as_it_is() -> None:
    with unit_of_work(all_tenants=True) as work:
        work.session.scalar(select(bindparam("given", type_=Text)), {"given": "1"})

        assert plans(work.session) == []


@pytest.mark.usefixtures("house")
def test_plans_are_made_anew_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_plans, "FIRST_PLAN_LIFETIME", -1)
    with unit_of_work(all_tenants=True) as work:
        answers = [ask(work.session, value, "1") for value in ("a", "b", "b")]

        assert answers == ["a1", "b1", "b1"]
        # All of them go at once: the server keeps nothing that has no use.
        assert [uses for _, uses, _ in plans(work.session)] == [1]


class Clock:
    """The clock of the plans alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.usefixtures("house")
def test_the_more_often_plans_were_made_anew_the_longer_they_are_kept_until_there_is_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    clock = Clock()
    monkeypatch.setattr(cached_plans, "time", clock)
    made: list[float] = []

    def use_for(seconds: float) -> None:
        for _ in range(int(seconds / 0.05)):
            ask(work.session, "a", "1")
            ((_, uses, _),) = plans(work.session)
            if uses == 1:
                made.append(clock.now)
            clock.now += 0.05

    with unit_of_work(all_tenants=True) as work:
        use_for(5)
        kept = [later - earlier for earlier, later in pairwise(made)]
        made.clear()
        clock.now += 3
        use_for(0.5)

    assert kept == sorted(kept)
    assert kept[0] == pytest.approx(cached_plans.FIRST_PLAN_LIFETIME, abs=0.05)
    assert kept[-1] == pytest.approx(cached_plans.MAX_PLAN_LIFETIME, abs=0.1)
    assert made[1] - made[0] == pytest.approx(cached_plans.FIRST_PLAN_LIFETIME, abs=0.05)


@pytest.mark.usefixtures("house")
def test_a_literal_is_a_part_of_the_statement() -> None:
    with unit_of_work(all_tenants=True) as work:
        answers = [ask(work.session, value, "1") for value in ("a", "b", "a")]
        found = plans(work.session)

    assert answers == ["a1", "b1", "a1"]
    assert [uses for _, uses, _ in found] == [2, 1]
    assert "'a'" in found[0][0]
    assert "'b'" in found[1][0]


@pytest.mark.usefixtures("house")
def test_states_stay_in_the_text_for_indexes_on_some_rows_only() -> None:
    with unit_of_work(all_tenants=True) as work:
        deliveries.claim_due_operations(
            work.session, [uuid4()], post_timeout=timedelta(0), now=work.session.scalar(func.now())
        )
        aggregate_store.load_for_update(work.session, [uuid4()])
        claim, *_ = [statement for statement, _, _ in plans(work.session)]

    assert "operations.state = 'pending'" in claim


@pytest.mark.usefixtures("house")
def test_after_an_error_it_begins_anew() -> None:
    with unit_of_work(all_tenants=True) as work:
        ask(work.session, "a", "1")
        # Behind our back: the server has nothing of what we think that it has.
        work.session.execute(text("DEALLOCATE ALL"))
        with pytest.raises(OperationalError, match="does not exist"):
            ask(work.session, "a", "2")
        work.session.rollback()

    with unit_of_work(all_tenants=True) as work:
        assert ask(work.session, "a", "3") == "a3"


@pytest.mark.usefixtures("house")
def test_a_statement_that_fails_when_it_first_runs_is_prepared_again() -> None:
    halved = cached_plans.with_cached_plan(
        select(100 / bindparam("by", type_=tables.CONNECTIONS.c.sync_reported_rank.type))
    )
    for _ in range(2):
        with suppress(DataError), unit_of_work(all_tenants=True) as work:
            work.session.scalar(halved, {"by": 0})
            pytest.fail("it was divided by nothing")

    with unit_of_work(all_tenants=True) as work:
        assert work.session.scalar(halved, {"by": 50}) == 2


def test_what_one_tenant_has_prepared_shows_another_its_own_rows_only(house: Flask) -> None:
    mine, theirs = uuid4(), uuid4()
    ids: dict[UUID, set[UUID]] = {}
    for tenant in (mine, theirs):
        with unit_of_work(tenant_ids=[tenant]) as work:
            made = connections.create_seeded_connections(
                work.session, tenant, actor=Actor("user", id=uuid4()), now=datetime.now(UTC)
            )
            ids[tenant] = {change.connection.id for change in made}

    def seen(tenant: UUID) -> set[UUID]:
        with unit_of_work(tenant_ids=[tenant]) as work:
            return set(aggregate_store.load_for_update(work.session, ids[mine] | ids[theirs]))

    assert [seen(mine), seen(theirs), seen(mine)] == [ids[mine], ids[theirs], ids[mine]]
    forget_organizations(house)


@pytest.fixture(scope="module")
def pgbouncer(settings: Settings) -> Iterator[str]:
    """A PgBouncer in transaction mode before the tests' PostgreSQL: two servers' connections for whoever comes."""
    pooler = program("pgbouncer", elsewhere="/usr/sbin")
    url, port = make_url(settings.database_url), free_port()
    # Where the unprivileged user may look, too: PgBouncer refuses to be root.
    directory = Path(tempfile.mkdtemp(prefix="rita-tests-pgbouncer-"))
    directory.chmod(0o755)
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"""[databases]
rita = host={url.host} port={url.port} dbname={url.database} user={url.username} password={url.password}
[pgbouncer]
listen_addr = {LOOPBACK}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = options
"""
    )
    child = Child(
        "pgbouncer",
        directory=directory,
        log=directory / "log",
        record=directory / "record.json",
        user=UNPRIVILEGED_USER if os.geteuid() == 0 else None,
    )

    def answers() -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return True
        return False

    try:
        child.start([pooler, str(config)], environ={"PATH": os.environ["PATH"]})
        child.wait_until(answers, within=timedelta(seconds=20))
        yield url.set(host=LOOPBACK, port=port, database="rita").render_as_string(hide_password=False)
    finally:
        child.stop()
        shutil.rmtree(directory)


def test_behind_pgbouncer_nothing_is_prepared(pgbouncer: str, another_app: Callable[..., Flask]) -> None:
    app = another_app(database_url=pgbouncer, database_pool_size=8)

    def listed(number: int) -> int:
        headers = {"Authorization": f"Bearer {a_token(app, organization_id=str(UUID(int=number % 3 + 1)))}"}
        return app.test_client().get("/api/data-sources", headers=headers).status_code

    assert in_parallel(40, listed) == [200] * 40
    with psycopg2.connect(pgbouncer) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("pooled", [False, True], ids=["prepared", "behind pgbouncer"])
def test_who_waits_for_a_lock_reads_what_was_done_meanwhile(
    request: pytest.FixtureRequest, web: Flask, another_app: Callable[..., Flask], *, pooled: bool
) -> None:
    app = another_app(database_url=request.getfixturevalue("pgbouncer")) if pooled else web
    tenant, now = uuid4(), datetime.now(UTC)

    def read() -> ConnectionAggregate:
        with app.app_context(), unit_of_work(tenant_ids=[tenant]) as work:
            return aggregate_store.load_one_for_update(work.session, connection_id)

    def somebody_waits() -> bool:
        return bool(rows(web, "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))

    with app.app_context(), unit_of_work(tenant_ids=[tenant]) as work:
        made = connections.create_seeded_connections(work.session, tenant, actor=Actor("user", id=uuid4()), now=now)
    connection_id = made[0].connection.id
    opened = Operation(uuid7(), tenant, connection_id, kind="sync", origin="user", created_at=now, deadline_at=now)
    with ThreadPoolExecutor(1) as threads:
        with app.app_context(), unit_of_work(tenant_ids=[tenant]) as work:
            aggregate_store.load_one_for_update(work.session, connection_id)
            waiting = threads.submit(read)
            assert wait_until(somebody_waits, within=timedelta(seconds=5))
            stored_rows.write_changes(work.session, new_operations=[row_values(opened)])
            work.session.execute(tables.CONNECTIONS.update().values(name="meanwhile"))
        found = waiting.result(timeout=10)

    assert found.connection.name == "meanwhile"
    assert list(found.operations) == [opened.id]
    forget_organizations(web)
