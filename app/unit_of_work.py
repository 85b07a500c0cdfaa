"""The only place that commits: one transaction, scoped to its organizations, with promises kept after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from app import prepared
from app.extensions import db

_SCOPE = (
    "SELECT set_config('app.organization_ids', %(scope_tenants)s, true),"
    " set_config('app.system', %(scope_system)s, true)"
)


class UnitOfWork:
    """One transaction. Services get `session` and flush; `after_commit` runs its promises once all is written."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._promises: list[Callable[[], Any]] = []

    def after_commit(self, promise: Callable[[], Any]) -> None:
        """Keep a promise (a job, an event) once the rows are committed, and not at all if they are not."""
        self._promises.append(promise)

    def keep_promises(self) -> None:
        """Run what was promised, in order."""
        for promise in self._promises:
            promise()


@contextmanager
def unit_of_work(*, tenants: Iterable[UUID] = (), system: bool = False) -> Iterator[UnitOfWork]:
    """Open a transaction that sees the rows of `tenants` only; of all, for the sweeps, with `system`.

    Commits once at the end, or rolls back on any exception. Without tenants and system it sees no row at all.
    It does not nest: what belongs together is one unit.
    """
    session = db.session()
    if session.in_transaction():
        raise RuntimeError("a unit of work is open already")
    session.info["scope"] = {
        "scope_tenants": "{" + ",".join(sorted({str(tenant) for tenant in tenants})) + "}",
        "scope_system": "on" if system else "off",
    }
    work = UnitOfWork(session)
    try:
        with session.begin():
            yield work
    finally:
        session.info.pop("scope", None)
        db.session.remove()
    work.keep_promises()


@event.listens_for(Session, "after_begin")
def _scope_transaction(session: Session, _transaction: Any, connection: Connection) -> None:
    """Leave for the transaction's first statement what PostgreSQL's policies are to know: whom this is for."""
    scope = session.info.get("scope")
    if scope is not None:
        connection.info["scope"] = scope


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _say_scope(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: ExecutionContext, *_: Any
) -> tuple[str, Any]:
    """Tell PostgreSQL the scope, which ends with the transaction, right before its first statement.

    Both in one message, as psycopg2 sends whatever it is given (the protocol's simple query): a round trip less.
    """
    statement = prepared.as_sent(connection, statement, parameters, context)
    scope = connection.info.pop("scope", None)
    if scope is None:
        return statement, parameters
    if not isinstance(parameters, dict):
        # Many sets of values, or none by name.
        cursor.execute(_SCOPE, scope)
        return statement, parameters
    return f"{_SCOPE}; {statement}", parameters | scope


@event.listens_for(Pool, "checkin")
def _forget_scope(_connection: Any, record: ConnectionPoolEntry) -> None:
    """Leave nothing for whoever has the connection next, should there have been no statement at all."""
    record.info.pop("scope", None)
