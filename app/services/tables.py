"""The tables that statements are about, and the columns of which an aggregate's rows consist."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from sqlalchemy import Table, column, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from app import models
from app.domain.aggregate import COLUMN_NAMES, Connection, Operation

CONNECTIONS = cast(Table, models.DataSourceConnection.__table__)
OPERATIONS = cast(Table, models.Operation.__table__)
AUDIT = cast(Table, models.AuditLog.__table__)
# A function of one parameter, so that the statement is compiled once: `VALUES` would be compiled anew each time.
_KIND_NAMES = literal(["verify", "sync"], ARRAY(Text))
KINDS = func.unnest(_KIND_NAMES).table_valued(column("kind", Text), name="kinds").render_derived()

LOWEST_ID = UUID(int=0)
CONNECTION_COLUMNS = [CONNECTIONS.c[name] for name in COLUMN_NAMES[Connection]]
OPERATION_COLUMNS = [OPERATIONS.c[name] for name in COLUMN_NAMES[Operation]]
