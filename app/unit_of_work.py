"""The only place that commits: one transaction, scoped to its organizations, with hooks that run after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import structlog
from flask import g
from sqlalchemy import event, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from app import cached_plans, database_clock
from app.extensions import Session, engine

log = structlog.get_logger()

# Two clocks drift apart by less than a millisecond in this time.
MAX_DATABASE_TIME_AGE = timedelta(seconds=10)
_NOW_QUERY = cached_plans.with_cached_plan(select(func.now()))
_SET_SCOPE_SQL = (
    "SELECT set_config('app.organization_ids', %(scope_tenants)s, true),"
    " set_config('app.system', %(scope_system)s, true)"
)


class UnitOfWork:
    """One transaction. Services get `session`; `after_commit` runs its hooks once all is written."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._after_commit_hooks: list[Callable[[], Any]] = []

    @cached_property
    def now(self) -> datetime:
        """The moment at which this transaction began, by the database's clock: the only one that all hosts share."""
        began = cast(datetime, self.session.scalar(_NOW_QUERY)).astimezone(UTC)
        database_clock.remember_database_time(began)
        return began

    def after_commit(self, hook: Callable[[], Any]) -> None:
        """Run a hook (a job, an event) once the rows are committed, and not at all if they are not."""
        self._after_commit_hooks.append(hook)

    def run_after_commit_hooks(self) -> None:
        """Run the hooks, in order.

        The rows are committed: a hook that fails is logged and takes nothing along, neither those after it nor the
        caller, who would report, or try again, what has been done.
        """
        for hook in self._after_commit_hooks:
            try:
                hook()
            except Exception:
                log.exception("promise_not_kept")


_UNLIMITED = nullcontext()


@contextmanager
def unit_of_work(
    *,
    tenant_ids: Iterable[UUID] = (),
    all_tenants: bool = False,
    limit: AbstractContextManager[object] = _UNLIMITED,
) -> Iterator[UnitOfWork]:
    """Open a transaction that sees the rows of `tenant_ids` only; of all, for the sweeps, with `all_tenants`.

    Commits once at the end, or rolls back on any exception. Without tenants and system it sees no row at all.
    It does not nest: what belongs together is one unit. `limit` is held while it has a connection, not while hooks run.
    """
    if g.get("unit_of_work_is_open"):
        raise RuntimeError("a unit of work is open already")
    g.unit_of_work_is_open = True
    try:
        with limit, engine().begin() as session:
            # For the first statement to bring along: what PostgreSQL's policies are to know.
            tenants, system = cached_plans.uuid_array_literal(tenant_ids), "on" if all_tenants else "off"
            session.info["scope"] = {"scope_tenants": tenants, "scope_system": system}
            work = UnitOfWork(session)
            yield work
    finally:
        g.unit_of_work_is_open = False
    work.run_after_commit_hooks()


def database_time() -> datetime:
    """Return the database's time, where no unit of work is open: as it is known, or asked for if it is not."""
    known = database_clock.estimated_database_time(max_age=MAX_DATABASE_TIME_AGE)
    if known is not None:
        return known
    with unit_of_work() as work:
        return work.now


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _set_scope_before_first_statement(
    connection: Session, cursor: Any, statement: str, parameters: Any, context: ExecutionContext, *_: Any
) -> tuple[str, Any]:
    """Tell PostgreSQL the scope, which ends with the transaction, right before its first statement.

    Both in one message, as psycopg2 sends whatever it is given (the protocol's simple query): a round trip less.
    """
    statement = cached_plans.sql_to_send(connection, statement, parameters, context)
    scope = connection.info.pop("scope", None)
    if scope is None:
        return statement, parameters
    if not isinstance(parameters, dict):
        # Many sets of values, or none by name.
        cursor.execute(_SET_SCOPE_SQL, scope)
        return statement, parameters
    return f"{_SET_SCOPE_SQL}; {statement}", parameters | scope


@event.listens_for(Pool, "checkin")
def _clear_scope(_connection: Any, record: ConnectionPoolEntry) -> None:
    """Leave nothing for whoever has the connection next, should there have been no statement at all."""
    record.info.pop("scope", None)
