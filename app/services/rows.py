"""Rows as statements write them: many at once, from one parameter, a JSON array of records.

Statements are put together once for the columns that they write: building and compiling one of thirty columns takes
longer than running it. For `ledger.py` alone, which knows what to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CTE, Select, Table, bindparam, column, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB, Insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.sql.selectable import TableValuedAlias

from app import errors, models
from app.domain.cases import NAMES, Connection, Operation, Values, values_of
from app.extensions import Session
from app.prepared import prepared

CONNECTIONS = cast(Table, models.DataSourceConnection.__table__)
OPERATIONS = cast(Table, models.Operation.__table__)
AUDIT = cast(Table, models.AuditLog.__table__)


def _record(row: Connection | Operation) -> dict[str, Any]:
    return dict(zip(NAMES[type(row)], values_of(row), strict=True))


def write(
    session: Session,
    *,
    stale: Sequence[tuple[Connection, Values]] = (),
    changed: Sequence[tuple[Operation, Values]] = (),
    opened: Sequence[Operation] = (),
    audited: Sequence[dict[str, Any]] = (),
) -> Any:
    """Write connections and operations that changed, each with its stored values; add operations and audit rows.

    In one statement, for each takes a round trip. Returns the `updated_at` of all those connections: the trigger gives
    them the moment at which the transaction began. Raises OperationInProgress.
    """
    if not (stale or changed or opened or audited):
        return None
    (stale_columns, stale_rows), (changed_columns, changed_rows) = _differing(stale), _differing(changed)
    opened_columns, opened_rows = _given(opened)
    statement = _write_statement(stale_columns, changed_columns, opened_columns, bool(audited))
    values = {"stale": stale_rows, "changed": changed_rows, "opened": opened_rows, "audited": audited}
    updated_at, count = session.execute(statement, {name: rows for name, rows in values.items() if rows}).one()
    if count < len(opened):
        raise errors.OperationInProgress("Another request for this data source came first")
    return updated_at


# A row keeps its identity, and the trigger keeps `updated_at`.
_FIXED = frozenset({"id", "organization_id", "connection_id", "type", "created_at", "created_by", "updated_at"})
Columns = tuple[str, ...]


def _differing(rows: Sequence[tuple[Connection | Operation, Values]]) -> tuple[Columns, list[dict[str, Any]]]:
    """Return the columns in which any of the rows differs from what is stored of it, and each row's values of those.

    Each row gets every column that differs in any of them: few as a rule, which is a third of the work of writing all.
    """
    if not rows:
        return (), []
    names = NAMES[type(rows[0][0])]
    differing = {
        name for row, stored in rows for name, a, b in zip(names, values_of(row), stored, strict=True) if a != b
    }
    columns = tuple(name for name in names if name in differing and name not in _FIXED)
    values = attrgetter("id", *columns)
    return columns, [dict(zip(("id", *columns), values(row), strict=True)) for row, _ in rows]


def _given(rows: Sequence[Operation]) -> tuple[Columns, list[dict[str, Any]]]:
    """Return the columns of which any of the new rows has a value, and each row's values of those: half, as a rule."""
    if not rows:
        return (), []
    given = zip(NAMES[Operation], zip(*map(values_of, rows), strict=True), strict=True)
    columns = tuple(name for name, values in given if any(value is not None for value in values))
    values = attrgetter(*columns)
    return columns, [dict(zip(columns, values(row), strict=True)) for row in rows]


@lru_cache(maxsize=500)
def _write_statement(stale: Columns, changed: Columns, opened: Columns, audits: bool) -> Select[Any]:  # noqa: FBT001
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
    if audits:
        parts.append(_insert(AUDIT, tuple(AUDIT.c.keys()), rows="audited").cte("told"))
    return prepared(select(updated_at, count).add_cte(*parts))


def _rows_of(table: Table, names: Columns, *, rows: str) -> TableValuedAlias:
    """Return the parameter `rows`, a JSON array of records, as a table with the types of `table`'s columns."""
    records = func.jsonb_to_recordset(bindparam(rows, type_=JSONB))
    return records.table_valued(
        *[column(name, table.c[name].type) for name in names], name=f"{rows}_rows"
    ).render_derived(with_types=True)


def _insert(table: Table, names: Columns, *, rows: str) -> Insert:
    return postgresql_insert(table).from_select(list(names), select(_rows_of(table, names, rows=rows)))


def _update(table: Table, names: Columns, *, rows: str) -> Any:
    given = _rows_of(table, ("id", *names), rows=rows)
    return update(table).where(table.c.id == given.c.id).values({name: given.c[name] for name in names})


_INSERT_CONNECTIONS = prepared(
    _insert(CONNECTIONS, NAMES[Connection], rows="new").on_conflict_do_nothing().returning(CONNECTIONS.c.id)
)


def insert_new(session: Session, rows: Sequence[Connection]) -> set[UUID]:
    """Insert connections that are not there yet; return the ids of those that were not."""
    if not rows:
        return set()
    return set(session.scalars(_INSERT_CONNECTIONS, {"new": [_record(row) for row in rows]}))
