"""The tables. Rows are read and written as the domain's dataclasses of the same columns, by `services/ledger.py`."""

from app.models.audit import AuditLog
from app.models.connection import DataSourceConnection
from app.models.operation import Operation
from app.models.organization import Organization

__all__ = ["AuditLog", "DataSourceConnection", "Operation", "Organization"]
