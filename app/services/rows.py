"""Rows as statements write them: many at once, from one parameter a column, an array of its values.

Statements are put together once for the columns that they write: building and compiling one of thirty columns takes
longer than running it. For `ledger.py` alone, which knows what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import compress, repeat
from operator import is_not, ne
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CTE, Select, Table, bindparam, column, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.sql.selectable import TableValuedAlias

from app import errors, models
from app.domain.cases import NAMES, Connection, Difference, Operation, Values, values_of
from app.extensions import Session
from app.prepared import Array, prepared

CONNECTIONS = cast(Table, models.DataSourceConnection.__table__)
OPERATIONS = cast(Table, models.Operation.__table__)
AUDIT = cast(Table, models.AuditLog.__table__)
AUDIT_NAMES = tuple(AUDIT.c.keys())


Columns = tuple[str, ...]
# Of some columns, each row's values, column by column.
Arrays = tuple[Columns, list[Sequence[Any]]]


def write(
    session: Session,
    *,
    stale: Sequence[Difference] = (),
    changed: Sequence[Difference] = (),
    opened: Sequence[Values] = (),
    audited: Sequence[Values] = (),
) -> Any:
    """Write connections and operations that differ from their rows (`stale`, `changed`); add operations and audit rows.

    In one statement, for each takes a round trip. Returns the `updated_at` of all those connections: the trigger gives
    them the moment at which the transaction began. Raises OperationInProgress.
    """
    if not (stale or changed or opened or audited):
        return None
    parts = {
        "stale": _differing(NAMES[Connection], stale),
        "changed": _differing(NAMES[Operation], changed),
        "opened": _given(NAMES[Operation], opened, without=_NEW_OPERATION),
        "audited": _given(AUDIT_NAMES, audited, without=repeat(None)),
    }
    statement = _write_statement(**{name: columns for name, (columns, _) in parts.items()})
    values = {
        _parameter(rows, name): array for rows, arrays in parts.items() for name, array in zip(*arrays, strict=True)
    }
    updated_at, count = session.execute(statement, values).one()
    if count < len(opened):
        raise errors.OperationInProgress("Another request for this data source came first")
    return updated_at


# A row keeps its identity, and the trigger keeps `updated_at`.
_FIXED = frozenset({"id", "organization_id", "connection_id", "type", "created_at", "created_by", "updated_at"})
# What a row has where it is given nothing: what the table says (None, 0, False, of which Python has but one each).
_NEW_OPERATION = tuple(
    field.default if OPERATIONS.c[field.name].server_default is not None else None for field in fields(Operation)
)


def _differing(names: Columns, rows: Sequence[Difference]) -> Arrays:
    """Return the columns in which any of the rows differs from what is stored of it, and each row's values of those.

    Each row gets every column that differs in any of them: few as a rule, which is a third of the work of writing all.
    """
    if not rows:
        return (), []
    may_change = [name not in _FIXED for name in names]
    differs = [map(ne, compress(now, may_change), compress(stored, may_change)) for now, stored in rows]
    differing = compress(compress(names, may_change), map(any, zip(*differs, strict=True)))
    wanted = {"id", *differing}
    return _arrays(names, [now for now, _ in rows], chosen=[name in wanted for name in names])


def _given(names: Columns, rows: Sequence[Values], *, without: Iterable[Any]) -> Arrays:
    """Return the columns in which any of the new rows has a value of its own, half as a rule, and each row's values."""
    if not rows:
        return (), []
    given = zip(*[map(is_not, row, without) for row in rows], strict=True)
    return _arrays(names, rows, chosen=[any(column) for column in given])


def _arrays(names: Columns, rows: Sequence[Values], *, chosen: Sequence[bool]) -> Arrays:
    return tuple(compress(names, chosen)), list(compress(zip(*rows, strict=True), chosen))


@lru_cache(maxsize=500)
def _write_statement(*, stale: Columns, changed: Columns, opened: Columns, audited: Columns) -> Select[Any]:
    updated_at: Any = null()
    count: Any = literal(0)
    parts: list[CTE] = []
    if stale:
        written = _update(CONNECTIONS, stale, rows="stale").returning(CONNECTIONS.c.updated_at).cte("written")
        updated_at = select(func.max(written.c.updated_at)).scalar_subquery()
    if opened:
        inserted = _insert(OPERATIONS, opened, rows="opened").on_conflict_do_nothing()
        new = inserted.returning(OPERATIONS.c.id).cte("new")
        count = select(func.count(new.c.id)).scalar_subquery()
    if changed:
        parts.append(_update(OPERATIONS, changed, rows="changed").cte("kept"))
    if audited:
        parts.append(_insert(AUDIT, audited, rows="audited").cte("told"))
    return prepared(select(updated_at, count).add_cte(*parts))


def _parameter(rows: str, name: str) -> str:
    return f"{rows}_{name}"


def _rows_of(table: Table, names: Columns, *, rows: str) -> TableValuedAlias:
    """Return the parameters of `rows`, an array for each column, as a table with the types of `table`'s columns."""
    arrays = [bindparam(_parameter(rows, name), type_=Array(table.c[name].type)) for name in names]
    columns = [column(name, table.c[name].type) for name in names]
    return func.unnest(*arrays).table_valued(*columns, name=f"{rows}_rows").render_derived()


def _insert(table: Table, names: Columns, *, rows: str) -> Insert:
    return postgresql_insert(table).from_select(list(names), select(_rows_of(table, names, rows=rows)))


def _update(table: Table, names: Columns, *, rows: str) -> Any:
    given = _rows_of(table, names, rows=rows)
    return update(table).where(table.c.id == given.c.id).values({name: given.c[name] for name in names if name != "id"})


_INSERT_CONNECTIONS = prepared(
    _insert(CONNECTIONS, NAMES[Connection], rows="new").on_conflict_do_nothing().returning(CONNECTIONS.c.id)
)


def insert_new(session: Session, rows: Sequence[Connection]) -> set[UUID]:
    """Insert connections that are not there yet; return the ids of those that were not."""
    if not rows:
        return set()
    columns = zip(*[values_of(row) for row in rows], strict=True)
    values = {_parameter("new", name): column for name, column in zip(NAMES[Connection], columns, strict=True)}
    return set(session.scalars(_INSERT_CONNECTIONS, values))
