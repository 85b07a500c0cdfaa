"""The tables. Rows are read and written as the domain's dataclasses, by `services/aggregate_store.py`."""

from app.models.audit import AuditLog
from app.models.connection import DataSourceConnection
from app.models.operation import Operation
from app.models.organization import Organization

__all__ = ["AuditLog", "DataSourceConnection", "Operation", "Organization"]
