"""Statements that PostgreSQL parses and plans once a second on a connection, instead of at each use.

psycopg2 sends each statement as text, and for a few rows found by an index PostgreSQL plans longer than it works.
Those marked `with_cached_plan` go as SQL's PREPARE and EXECUTE: https://www.postgresql.org/docs/current/sql-prepare.html.
See `docs/decisions/0018-cached-plans.md`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, DateTime, Executable, Select, String, Text, Uuid, event
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import dialect as postgresql_dialect
from sqlalchemy.engine import Connection, Dialect, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine, UserDefinedType

StatementType = TypeVar("StatementType", bound=Executable)

# A plan says how to find rows when it is made: among ten, by reading all. A moment later there may be thousands. So the
# first plans after a pause are kept for a moment, in seconds, those after them for twice as long, up to a second.
FIRST_PLAN_LIFETIME, MAX_PLAN_LIFETIME = 1 / 16, 1.0
CACHED_PLAN_OPTION, RUN_FIRST_OPTION = "prepared", "before"
PLANS_KEY = "plans"
_POSTGRESQL_DIALECT: Dialect = postgresql_dialect()  # type: ignore[no-untyped-call]


def with_cached_plan(statement: StatementType, *, run_first: Select[Any] | None = None) -> StatementType:
    """Mark a statement that is put together once: its parameters have names and types, and no `IN` of many.

    `run_first`, with no other parameters and no literals, runs in the same message, and nobody reads what it gives.
    What it waits for, this one sees: in PostgreSQL's READ COMMITTED each has a snapshot of its own.
    """
    return statement.execution_options(**{CACHED_PLAN_OPTION: True, RUN_FIRST_OPTION: run_first})


def uuid_array_literal(ids: Iterable[UUID]) -> str:
    """Return ids as PostgreSQL's text of an array: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""
    return "{" + ",".join([id_.hex for id_ in ids]) + "}"


class ArrayParameter(UserDefinedType[Any]):
    """The type of a parameter of many values, sent as one literal of an array instead of an expression for each."""

    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        """Take the type of each value. Of a text no length is said: a cast would cut what is longer, without a word."""
        self.item = Text() if isinstance(item, String) else item

    def get_col_spec(self, **_: Any) -> str:
        """Return PostgreSQL's name of the type."""
        return f"{self.item.compile(_POSTGRESQL_DIALECT)}[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return what writes the values."""
        write = self._value_writer(dialect)
        return lambda values: "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[Any]:
        """Say the type, which a text alone does not tell."""
        return cast_to(bindvalue, self)

    def _value_writer(self, dialect: Dialect) -> Callable[[Any], str]:
        match self.item:
            case Uuid():
                return attrgetter("hex")
            case DateTime():
                return datetime.isoformat
            case String():
                return _quote_array_element
            case JSONB():
                to_json = cast(Any, self.item).bind_processor(dialect)
                return lambda value: _quote_array_element(to_json(value))
        return str


def _quote_array_element(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


UUID_ARRAY = ArrayParameter(Uuid())


@dataclass(frozen=True, eq=False, slots=True)
class _PreparableStatement:
    """A statement as PREPARE takes it, the arguments of EXECUTE, and the values that are part of the statement."""

    definition: str
    arguments: str
    constants: tuple[str, ...]


@lru_cache(maxsize=500)
def _preparable_statement(compiled: SQLCompiler) -> _PreparableStatement:
    names, binds = dict.fromkeys(re.findall(r"%\((\w+)\)s", compiled.string)), compiled.binds
    # Those of a literal stay in the text: an index on some rows only is used for a state that is known.
    types = {name: binds[name].type.compile(compiled.dialect) for name in names if binds[name].required}
    text = compiled.string
    for number, name in enumerate(types, start=1):
        text = text.replace(f"%({name})s", f"${number}")
    return _PreparableStatement(
        definition=f"{_parenthesized_list(list(types.values()))} AS {text}",
        arguments=_parenthesized_list([f"%({name})s::{type_}" for name, type_ in types.items()]),
        constants=tuple(name for name in names if name not in types),
    )


def _parenthesized_list(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


class ConnectionPlans:
    """What one connection has prepared."""

    def __init__(self) -> None:
        self._statement_names: dict[tuple[Any, ...], str] = {}
        self._lifetime = FIRST_PLAN_LIFETIME
        self._valid_until = 0.0

    def invalidate(self) -> None:
        """Begin anew: nobody knows what the server made of the last message."""
        self._valid_until = 0.0

    def execute_command(self, statement: _PreparableStatement, parameters: Any) -> str:
        """Return the message that runs a statement, and prepares it first if need be."""
        first = ""
        now = time.monotonic()
        if self._valid_until < now:
            self._statement_names.clear()
            is_in_use = now - self._valid_until < MAX_PLAN_LIFETIME
            self._lifetime = min(self._lifetime * 2, MAX_PLAN_LIFETIME) if is_in_use else FIRST_PLAN_LIFETIME
            self._valid_until = now + self._lifetime
            first = "DEALLOCATE ALL; "
        key = (statement, *[repr(parameters[name]) for name in statement.constants])
        name = self._statement_names.get(key)
        if name is None:
            name = self._statement_names[key] = f"rita_{len(self._statement_names)}"
            first += f"PREPARE {name}{statement.definition}; "
        return f"{first}EXECUTE {name}{statement.arguments}"


def enable_cached_plans(connection_info: MutableMapping[Any, Any]) -> None:
    """Let a connection, by its pool entry's `connection_info`, prepare; without this, each statement goes as it is."""
    connection_info[PLANS_KEY] = ConnectionPlans()


def sql_to_send(connection: Connection, statement: str, parameters: Any, context: ExecutionContext) -> str:
    """Return the text to send for a statement: itself, unless it is a marked one on a connection that may prepare."""
    if not context.execution_options.get(CACHED_PLAN_OPTION):
        return statement
    plans: ConnectionPlans | None = connection.info.get(PLANS_KEY)
    before = context.execution_options[RUN_FIRST_OPTION]
    own = cast(SQLCompiler, context.compiled)
    parts = [own] if before is None else [_compile(before, context.dialect), own]
    if plans is None:
        return "; ".join(part.string for part in parts)
    return "; ".join(plans.execute_command(_preparable_statement(part), parameters) for part in parts)


@lru_cache(maxsize=100)
def _compile(statement: Select[Any], dialect: Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect)


@event.listens_for(Engine, "handle_error")
def _invalidate_plans_after_error(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return
    if plans := connection.info.get(PLANS_KEY):
        plans.invalidate()
