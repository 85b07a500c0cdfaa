"""Statements that PostgreSQL parses and plans once a second on a connection, instead of at each use.

psycopg2 sends each statement as text, and for a few rows found by an index PostgreSQL plans longer than it works.
Those marked `prepared` go as SQL's PREPARE and EXECUTE: https://www.postgresql.org/docs/current/sql-prepare.html.
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

Statement = TypeVar("Statement", bound=Executable)

# A plan says how to find rows when it is made: among ten, by reading all. A moment later there may be thousands. So the
# first plans after a pause are kept for a moment, in seconds, those after them for twice as long, up to a second.
KEPT_FIRST, KEPT_FOR = 1 / 16, 1.0
OPTION, BEFORE = "prepared", "before"
PLANS = "plans"
_DIALECT: Dialect = postgresql_dialect()  # type: ignore[no-untyped-call]


def prepared(statement: Statement, *, before: Select[Any] | None = None) -> Statement:
    """Mark a statement that is put together once: its parameters have names and types, and no `IN` of many.

    `before`, with no other parameters and no literals, runs in the same message, and nobody reads what it gives. What
    it waits for, this one sees: in PostgreSQL's READ COMMITTED each has a snapshot of its own.
    """
    return statement.execution_options(**{OPTION: True, BEFORE: before})


def array_of(ids: Iterable[UUID]) -> str:
    """Return ids as PostgreSQL's text of an array: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""
    return "{" + ",".join([id_.hex for id_ in ids]) + "}"


class Array(UserDefinedType[Any]):
    """The type of a parameter of many values, sent as one literal of an array instead of an expression for each."""

    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        """Take the type of each value. Of a text no length is said: a cast would cut what is longer, without a word."""
        self.item = Text() if isinstance(item, String) else item

    def get_col_spec(self, **_: Any) -> str:
        """Return PostgreSQL's name of the type."""
        return f"{self.item.compile(_DIALECT)}[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return what writes the values."""
        write = self._writer(dialect)
        return lambda values: "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[Any]:
        """Say the type, which a text alone does not tell."""
        return cast_to(bindvalue, self)

    def _writer(self, dialect: Dialect) -> Callable[[Any], str]:
        match self.item:
            case Uuid():
                return attrgetter("hex")
            case DateTime():
                return datetime.isoformat
            case String():
                return _quoted
            case JSONB():
                to_json = cast(Any, self.item).bind_processor(dialect)
                return lambda value: _quoted(to_json(value))
        return str


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


IDS = Array(Uuid())


@dataclass(frozen=True, eq=False, slots=True)
class _Form:
    """A statement as PREPARE takes it, the arguments of EXECUTE, and the values that are part of the statement."""

    definition: str
    arguments: str
    constants: tuple[str, ...]


@lru_cache(maxsize=500)
def _form_of(compiled: SQLCompiler) -> _Form:
    names = dict.fromkeys(re.findall(r"%\((\w+)\)s", compiled.string))
    # Those of a literal stay in the text: an index on some rows only is used for a state that is known.
    types = {
        name: compiled.binds[name].type.compile(compiled.dialect) for name in names if compiled.binds[name].required
    }
    text = compiled.string
    for number, name in enumerate(types, start=1):
        text = text.replace(f"%({name})s", f"${number}")
    return _Form(
        definition=f"{_in_brackets(list(types.values()))} AS {text}",
        arguments=_in_brackets([f"%({name})s::{type_}" for name, type_ in types.items()]),
        constants=tuple(name for name in names if name not in types),
    )


def _in_brackets(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


class Plans:
    """What one connection has prepared."""

    def __init__(self) -> None:
        self._names: dict[tuple[Any, ...], str] = {}
        self._kept_for = KEPT_FIRST
        self._until = 0.0

    def forget(self) -> None:
        """Begin anew: nobody knows what the server made of the last message."""
        self._until = 0.0

    def execute(self, form: _Form, parameters: Any) -> str:
        """Return the message that runs a statement, and prepares it first if need be."""
        first = ""
        now = time.monotonic()
        if self._until < now:
            self._names.clear()
            self._kept_for = min(self._kept_for * 2, KEPT_FOR) if now - self._until < KEPT_FOR else KEPT_FIRST
            self._until = now + self._kept_for
            first = "DEALLOCATE ALL; "
        key = (form, *[repr(parameters[name]) for name in form.constants])
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"rita_{len(self._names)}"
            first += f"PREPARE {name}{form.definition}; "
        return f"{first}EXECUTE {name}{form.arguments}"


def allow(info: MutableMapping[Any, Any]) -> None:
    """Let a connection, by its pool entry's `info`, prepare; without this, each statement goes as it is."""
    info[PLANS] = Plans()


def as_sent(connection: Connection, statement: str, parameters: Any, context: ExecutionContext) -> str:
    """Return the text to send for a statement: itself, unless it is a marked one on a connection that may prepare."""
    if not context.execution_options.get(OPTION):
        return statement
    plans: Plans | None = connection.info.get(PLANS)
    before = context.execution_options[BEFORE]
    own = cast(SQLCompiler, context.compiled)
    parts = [own] if before is None else [_compiled(before, context.dialect), own]
    return "; ".join(plans.execute(_form_of(part), parameters) if plans else part.string for part in parts)


@lru_cache(maxsize=100)
def _compiled(statement: Select[Any], dialect: Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect)


@event.listens_for(Engine, "handle_error")
def _forget(context: ExceptionContext) -> None:
    connection = context.connection
    if connection is not None and not connection.closed and not connection.invalidated:
        plans = connection.info.get(PLANS)
        if plans is not None:
            plans.forget()
