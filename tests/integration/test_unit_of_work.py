# ruff: noqa: PT012 - a unit of work is a block, and what a failing one leaves behind is what is tested here

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.errors import NotFound
from app.extensions import db
from app.unit_of_work import unit_of_work
from tests.factories import rows

ADD = text("INSERT INTO organizations (id) VALUES (:id)")
COUNT = text("SELECT count(*) FROM organizations")
SCOPE = text(
    "SELECT current_setting('app.organization_ids', true), current_setting('app.system', true), pg_backend_pid()"
)


@pytest.fixture
def house(web: Flask) -> Iterator[Flask]:
    """The application with its context pushed, as in a request or a task."""
    with web.app_context():
        yield web


@pytest.fixture
def commits(house: Flask) -> Iterator[list[Any]]:
    """What the engine of this application commits."""
    seen: list[Any] = []
    with house.app_context():
        engine = db.engine
    note = seen.append
    event.listen(engine, "commit", note)
    yield seen
    event.remove(engine, "commit", note)


def stored(app: Flask) -> set[UUID]:
    return {row["id"] for row in rows(app, "SELECT id FROM organizations")}


def test_all_is_committed_once_at_the_end(house: Flask, commits: list[Any]) -> None:
    first, second = uuid4(), uuid4()

    with unit_of_work(tenant_ids=[first, second]) as work:
        work.session.execute(ADD, {"id": first})
        work.session.execute(ADD, {"id": second})
        assert commits == []

    assert len(commits) == 1
    assert stored(house) == {first, second}


def test_nobody_else_sees_it_before_the_end(house: Flask) -> None:
    tenant = uuid4()

    with unit_of_work(tenant_ids=[tenant]) as work:
        work.session.execute(ADD, {"id": tenant})
        assert stored(house) == set()

    assert stored(house) == {tenant}


@pytest.mark.parametrize("problem", [ValueError, NotFound, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_exception_rolls_back_and_goes_on(house: Flask, problem: type[BaseException]) -> None:
    tenant, promises = uuid4(), []

    with pytest.raises(problem), unit_of_work(tenant_ids=[tenant]) as work:
        work.after_commit(lambda: promises.append("kept"))
        work.session.execute(ADD, {"id": tenant})
        raise problem("the reason")

    assert stored(house) == set()
    assert promises == []


def test_a_statement_that_fails_takes_all_with_it(house: Flask) -> None:
    tenant = uuid4()

    with pytest.raises(IntegrityError), unit_of_work(tenant_ids=[tenant]) as work:
        work.session.execute(ADD, {"id": tenant})
        work.session.execute(ADD, {"id": tenant})

    assert stored(house) == set()


def test_a_commit_that_fails_keeps_no_promise(house: Flask) -> None:
    tenant, promises = uuid4(), []

    with pytest.raises(OperationalError), unit_of_work(tenant_ids=[tenant]) as work:
        work.after_commit(lambda: promises.append("kept"))
        work.session.execute(ADD, {"id": tenant})
        pid = work.session.scalar(text("SELECT pg_backend_pid()"))
        rows(house, "SELECT pg_terminate_backend(:pid)", pid=pid)

    assert stored(house) == set()
    assert promises == []


def test_promises_are_kept_in_order_once_all_is_committed(house: Flask) -> None:
    tenant = uuid4()
    kept: list[tuple[str, set[UUID]]] = []

    with unit_of_work(tenant_ids=[tenant]) as work:
        work.after_commit(lambda: kept.append(("first", stored(house))))
        work.session.execute(ADD, {"id": tenant})
        work.after_commit(lambda: kept.append(("second", stored(house))))
        assert kept == []

    assert kept == [("first", {tenant}), ("second", {tenant})]


def test_a_promise_may_open_a_unit_of_its_own(house: Flask) -> None:
    first, second = uuid4(), uuid4()

    def promise() -> None:
        with unit_of_work(tenant_ids=[second]) as other:
            other.session.execute(ADD, {"id": second})

    with unit_of_work(tenant_ids=[first]) as work:
        work.session.execute(ADD, {"id": first})
        work.after_commit(promise)

    assert stored(house) == {first, second}


def test_a_promise_that_cannot_be_kept_is_logged_and_takes_nothing_along(
    house: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    tenant, promises = uuid4(), []

    def promise() -> None:
        raise ConnectionError("the broker is away")

    with unit_of_work(tenant_ids=[tenant]) as work:
        work.session.execute(ADD, {"id": tenant})
        work.after_commit(promise)
        work.after_commit(lambda: promises.append("kept"))

    assert stored(house) == {tenant}
    assert promises == ["kept"]
    assert [(record.msg["event"], record.msg["exc_info"]) for record in caplog.records] == [("promise_not_kept", True)]


def test_a_promise_does_not_keep_a_process_from_being_ended(house: Flask) -> None:
    tenant = uuid4()

    def promise() -> None:
        raise SystemExit

    with pytest.raises(SystemExit), unit_of_work(tenant_ids=[tenant]) as work:
        work.session.execute(ADD, {"id": tenant})
        work.after_commit(promise)

    assert stored(house) == {tenant}


def test_it_refuses_to_nest_and_the_outer_one_goes_on_in_its_own_scope(house: Flask) -> None:
    tenant, other = uuid4(), uuid4()

    with unit_of_work(tenant_ids=[tenant]) as work:
        with pytest.raises(RuntimeError, match="open already"), unit_of_work(tenant_ids=[other]):
            pytest.fail("two units at once")
        work.session.execute(ADD, {"id": tenant})
        assert work.session.scalar(COUNT) == 1
        with pytest.raises(ProgrammingError, match="row-level"), work.session.begin_nested():
            work.session.execute(ADD, {"id": other})

    assert stored(house) == {tenant}


@pytest.mark.usefixtures("house")
def test_it_sees_its_organizations_and_the_system_sees_all() -> None:
    tenants = [uuid4() for _ in range(3)]
    for tenant in tenants:
        with unit_of_work(tenant_ids=[tenant]) as work:
            work.session.execute(ADD, {"id": tenant})

    seen = []
    for scope in ({}, {"tenant_ids": tenants[:1]}, {"tenant_ids": iter(tenants[:2])}, {"all_tenants": True}):
        with unit_of_work(**scope) as work:
            seen.append(work.session.scalar(COUNT))

    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("scope", [{"tenant_ids": [UUID(int=1)]}, {"all_tenants": True}], ids=str)
def test_no_scope_stays_behind_on_a_pooled_connection(
    another_app: Callable[..., Flask], web: Flask, scope: dict[str, Any], *, fails: bool
) -> None:
    app = another_app(database_pool_size=1)
    somebody = uuid4()
    with web.app_context(), unit_of_work(tenant_ids=[somebody]) as work:
        work.session.execute(ADD, {"id": somebody})
    with app.app_context():
        with suppress(ValueError), unit_of_work(**scope) as work:
            first = work.session.execute(SCOPE).one()[2]
            if fails:
                raise ValueError

        with db.engine.connect() as connection:
            tenants, system, second = connection.execute(SCOPE).one()
            visible = connection.scalar(COUNT)

    assert first == second
    assert not tenants
    assert system in (None, "", "off")
    assert visible == 0


def test_a_unit_after_another_has_its_own_scope_on_the_same_connection(
    another_app: Callable[..., Flask],
) -> None:
    app = another_app(database_pool_size=1)
    seen = []
    with app.app_context():
        for scope in ({"all_tenants": True}, {"tenant_ids": [UUID(int=1)]}, {}):
            with unit_of_work(**scope) as work:
                seen.append(tuple(work.session.execute(SCOPE).one()))

    assert len({pid for _, _, pid in seen}) == 1
    assert [found[:2] for found in seen] == [("{}", "on"), (f"{{{UUID(int=1).hex}}}", "off"), ("{}", "off")]


@pytest.mark.usefixtures("house")
def test_a_session_outside_any_unit_sees_nothing() -> None:
    with unit_of_work(all_tenants=True):
        pass

    assert db.session.scalar(COUNT) == 0
    assert db.session.execute(SCOPE).one()[1] in (None, "", "off")
    db.session.remove()


@pytest.mark.parametrize("scope", [{"tenant_ids": [UUID(int=1)]}, {"all_tenants": True}], ids=str)
def test_the_scope_of_a_unit_that_asked_nothing_is_nobody_elses(
    another_app: Callable[..., Flask], scope: dict[str, Any]
) -> None:
    with another_app(database_pool_size=1).app_context():
        with unit_of_work(**scope) as work:
            # It has a connection, and began.
            taken = work.session.connection.dbapi_connection

        with db.engine.connect() as connection:
            assert connection.connection.dbapi_connection is taken
            tenants, system, _ = connection.execute(SCOPE).one()

    assert not tenants
    assert system in (None, "", "off")


def test_many_sets_of_values_are_in_scope(house: Flask) -> None:
    tenants = {uuid4(), uuid4()}

    with unit_of_work(tenant_ids=tenants) as work:
        work.session.execute(ADD, [{"id": tenant} for tenant in tenants])

    assert stored(house) == tenants


@pytest.mark.usefixtures("house")
def test_a_savepoint_that_is_given_up_does_not_take_the_scope_with_it() -> None:
    tenant = uuid4()

    with unit_of_work(tenant_ids=[tenant]) as work:
        with suppress(ValueError), work.session.begin_nested():
            work.session.execute(ADD, {"id": tenant})
            raise ValueError
        work.session.execute(ADD, {"id": tenant})

        assert work.session.scalar(COUNT) == 1


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_a_moment_is_read_as_it_was_written_whatever_zone_the_server_keeps(zone: str) -> None:
    written = [datetime(2026, 11, 27, 14, 3, 22, 123456, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC), None]

    with unit_of_work() as work:
        work.session.execute(text("SELECT set_config('TimeZone', :zone, true)"), {"zone": zone})
        read = work.session.execute(
            text("SELECT CAST(:a AS timestamptz), CAST(:b AS timestamptz), CAST(:c AS timestamptz)"),
            dict(zip("abc", written, strict=True)),
        ).one()

    assert list(read) == written
    assert read[0].utcoffset() is not None
