"""Rows as statements write them: many at once, from one parameter a column, an array of its values.

Statements are put together once for the columns that they write: building and compiling one of thirty columns takes
longer than running it. For `aggregate_store.py` alone, which knows what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import compress, repeat
from operator import is_not, ne
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Select, Table, bindparam, column, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.sql.selectable import TableValuedAlias

from app import errors
from app.cached_plans import ArrayParameter, with_cached_plan
from app.domain.aggregate import COLUMN_NAMES, Connection, Operation, RowDifference, RowValues, row_values
from app.extensions import Session
from app.services.tables import AUDIT, CONNECTIONS, OPERATIONS

AUDIT_COLUMN_NAMES = tuple(AUDIT.c.keys())


ColumnNames = tuple[str, ...]
# Of some columns, each row's values, column by column.
ColumnArrays = tuple[ColumnNames, list[Sequence[Any]]]


def write_changes(
    session: Session,
    *,
    changed_connections: Sequence[RowDifference] = (),
    changed_operations: Sequence[RowDifference] = (),
    new_operations: Sequence[RowValues] = (),
    audit_rows: Sequence[RowValues] = (),
) -> Any:
    """Write connections and operations that differ from their rows; add operations and audit rows.

    In one statement, for each takes a round trip. Returns the `updated_at` of all those connections: the trigger gives
    them the moment at which the transaction began. Raises OperationInProgress.
    """
    if not (changed_connections or changed_operations or new_operations or audit_rows):
        return None
    parts = {
        "changed_connections": _changed_column_arrays(COLUMN_NAMES[Connection], changed_connections),
        "changed_operations": _changed_column_arrays(COLUMN_NAMES[Operation], changed_operations),
        "new_operations": _given_column_arrays(COLUMN_NAMES[Operation], new_operations, defaults=_OPERATION_DEFAULTS),
        "audit_rows": _given_column_arrays(AUDIT_COLUMN_NAMES, audit_rows, defaults=repeat(None)),
    }
    statement = _build_write_statement(**{name: columns for name, (columns, _) in parts.items()})
    named = [(rows, *pair) for rows, arrays in parts.items() for pair in zip(*arrays, strict=True)]
    values = {_parameter_name(rows, name): array for rows, name, array in named}
    updated_at, count = session.execute(statement, values).one()
    if count < len(new_operations):
        raise errors.OperationInProgress("Another request for this data source came first")
    return updated_at


# A row keeps its identity, and the trigger keeps `updated_at`.
_IMMUTABLE_COLUMNS = {"id", "organization_id", "connection_id", "type", "created_at", "created_by", "updated_at"}
# What a row has where it is given nothing: what the table says (None, 0, False, of which Python has but one each).
_OPERATION_DEFAULTS = tuple(
    field.default if OPERATIONS.c[field.name].server_default is not None else None for field in fields(Operation)
)


def _changed_column_arrays(column_names: ColumnNames, rows: Sequence[RowDifference]) -> ColumnArrays:
    """Return the columns in which any of the rows differs from what is stored of it, and each row's values of those.

    Each row gets every column that differs in any of them: few as a rule, which is a third of the work of writing all.
    """
    if not rows:
        return (), []
    may_change = [name not in _IMMUTABLE_COLUMNS for name in column_names]
    differs = [map(ne, compress(now, may_change), compress(stored, may_change)) for now, stored in rows]
    differing = compress(compress(column_names, may_change), map(any, zip(*differs, strict=True)))
    wanted = {"id", *differing}
    return _chosen_column_arrays(column_names, [now for now, _ in rows], [name in wanted for name in column_names])


def _given_column_arrays(names: ColumnNames, rows: Sequence[RowValues], *, defaults: Iterable[Any]) -> ColumnArrays:
    """Return the columns in which any of the new rows has a value of its own, half as a rule, and each row's values."""
    if not rows:
        return (), []
    given = zip(*[map(is_not, row, defaults) for row in rows], strict=True)
    return _chosen_column_arrays(names, rows, [any(column) for column in given])


def _chosen_column_arrays(names: ColumnNames, rows: Sequence[RowValues], is_chosen: Sequence[bool]) -> ColumnArrays:
    return tuple(compress(names, is_chosen)), list(compress(zip(*rows, strict=True), is_chosen))


@lru_cache(maxsize=500)
def _build_write_statement(
    *,
    changed_connections: ColumnNames,
    changed_operations: ColumnNames,
    new_operations: ColumnNames,
    audit_rows: ColumnNames,
) -> Select[Any]:
    updated_at: Any = null()
    count: Any = literal(0)
    parts: list[CTE] = []
    if changed_connections:
        changed = _bulk_update(CONNECTIONS, changed_connections, rows_name="changed_connections")
        written = changed.returning(CONNECTIONS.c.updated_at).cte("written")
        updated_at = select(func.max(written.c.updated_at)).scalar_subquery()
    if new_operations:
        inserted = _bulk_insert(OPERATIONS, new_operations, rows_name="new_operations").on_conflict_do_nothing()
        new = inserted.returning(OPERATIONS.c.id).cte("new")
        count = select(func.count(new.c.id)).scalar_subquery()
    if changed_operations:
        parts.append(_bulk_update(OPERATIONS, changed_operations, rows_name="changed_operations").cte("kept"))
    if audit_rows:
        parts.append(_bulk_insert(AUDIT, audit_rows, rows_name="audit_rows").cte("told"))
    return with_cached_plan(select(updated_at, count).add_cte(*parts))


def _parameter_name(rows_name: str, column_name: str) -> str:
    return f"{rows_name}_{column_name}"


def _rows_from_arrays(table: Table, column_names: ColumnNames, *, rows_name: str) -> TableValuedAlias:
    """Return the parameters of `rows_name`, an array for each column, as rows with the types of `table`'s columns."""
    types = {name: table.c[name].type for name in column_names}
    arrays = [bindparam(_parameter_name(rows_name, name), type_=ArrayParameter(types[name])) for name in types]
    columns = [column(name, types[name]) for name in types]
    return func.unnest(*arrays).table_valued(*columns, name=f"{rows_name}_rows").render_derived()


def _bulk_insert(table: Table, column_names: ColumnNames, *, rows_name: str) -> Insert:
    rows = select(_rows_from_arrays(table, column_names, rows_name=rows_name))
    return postgresql_insert(table).from_select(list(column_names), rows)


def _bulk_update(table: Table, column_names: ColumnNames, *, rows_name: str) -> Any:
    given = _rows_from_arrays(table, column_names, rows_name=rows_name)
    values = {name: given.c[name] for name in column_names if name != "id"}
    return update(table).where(table.c.id == given.c.id).values(values)


_INSERTED = _bulk_insert(CONNECTIONS, COLUMN_NAMES[Connection], rows_name="new").on_conflict_do_nothing()
_INSERT_CONNECTIONS_STATEMENT = with_cached_plan(_INSERTED.returning(CONNECTIONS.c.id))


def insert_missing_connections(session: Session, connections: Sequence[Connection]) -> set[UUID]:
    """Insert connections that are not there yet; return the ids of those that were not."""
    if not connections:
        return set()
    columns = zip(*[row_values(row) for row in connections], strict=True)
    named = zip(COLUMN_NAMES[Connection], columns, strict=True)
    values = {_parameter_name("new", name): column for name, column in named}
    return set(session.scalars(_INSERT_CONNECTIONS_STATEMENT, values))
