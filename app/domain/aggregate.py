"""What the domain works on: a connection with those of its operations that matter, and the changes made to them.

`services/aggregate_store.py` loads aggregates, locked, and writes what changed, with audit and events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from app.domain.delivery_job import DeliveryJob
from app.domain.json_values import canonical_json

# An operation in one of these awaits an answer.
OPEN_STATES = frozenset({"pending", "delivered", "running"})
ENDED_STATES = frozenset({"succeeded", "failed", "undelivered", "expired", "replaced"})


@dataclass(slots=True)
class Connection:
    """A row of `data_source_connections`."""

    id: UUID
    organization_id: UUID
    type: str
    name: str
    created_by: UUID
    updated_by: UUID
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    status: str = "idle"
    last_sync_status: str | None = None
    latest_options: dict[str, str | list[str]] | None = None
    enabled: bool = False
    last_verification_at: datetime | None = None
    last_verification_error: str | None = None
    last_sync_at: datetime | None = None
    last_sync_error: str | None = None
    deleted_at: datetime | None = None
    first_enabled_at: datetime | None = None
    verified_at: datetime | None = None
    # How the last of each kind ended (see `domain/endings.py`), and how many documents the last sync found.
    last_verification_ending: str | None = None
    last_sync_ending: str | None = None
    last_sync_documents: int | None = None
    # The newest sync report, by the service's clock, and its rank among those of one instant: `domain/sync_order.py`.
    sync_reported_at: datetime | None = None
    sync_reported_rank: int | None = None

    @property
    def version(self) -> str:
        """Name the state of what can be configured; whatever else happens to the connection leaves it as it is."""
        configured = canonical_json([self.name, self.description, self.config, self.enabled])
        return hashlib.sha256(configured.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Operation:
    """A row of `operations`: one question to the external service and its answer."""

    id: UUID
    organization_id: UUID
    connection_id: UUID
    kind: str
    origin: str
    created_at: datetime
    deadline_at: datetime | None
    state: str = "pending"
    requested_by: UUID | None = None
    requested_email: str | None = None
    request_id: str | None = None
    # Of the caller's making: the same key asks for the same operation.
    idempotency_key: str | None = None
    request: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    attempt_log: list[dict[str, Any]] = field(default_factory=list)
    next_attempt_at: datetime | None = None
    queued_until: datetime | None = None
    claimed_until: datetime | None = None
    last_status_code: int | None = None
    last_attempt_error: str | None = None
    delivered_at: datetime | None = None
    started_at: datetime | None = None
    last_reported_at: datetime | None = None
    finished_at: datetime | None = None
    documents_processed: int | None = None
    error: str | None = None
    reported_late: bool = False
    # Of earlier releases, which counted here what had changed nothing.
    late_reports: int = 0
    # What it was told with a time; see `domain/report_log.py`.
    reports: str | None = None
    # By the service's clock: whatever was reported until then is of what came before.
    asked_after: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether an answer is still awaited."""
        return self.state in OPEN_STATES

    @property
    def delivery_job(self) -> DeliveryJob:
        """What a job says of it."""
        return DeliveryJob(self.id, self.kind, self.organization_id)

    @property
    def may_be_known_to_service(self) -> bool:
        """Tell whether the service can know of this operation at all."""
        return self.attempts > 0 or self.origin == "service"


RowType = TypeVar("RowType", Connection, Operation)
COLUMN_NAMES = {cls: tuple(column.name for column in fields(cls)) for cls in (Connection, Operation)}
# All of a row at once: `copy.copy` and a loop over the fields take five times as long, and a batch has thousands.
_VALUE_GETTERS = {cls: attrgetter(*names) for cls, names in COLUMN_NAMES.items()}
_GET_ID = attrgetter("id")
RowValues = tuple[Any, ...]
# A row's values as they are now, and as the database holds them.
RowDifference = tuple[RowValues, RowValues]

# The fields of a connection whose change is worth telling.
AUDITED_FIELDS = (
    "name", "description", "config", "status", "last_sync_status", "latest_options", "enabled",
    "last_verification_at", "last_verification_error", "last_sync_at", "last_sync_error", "deleted_at",
)  # fmt: skip
_GET_AUDITED_VALUES = attrgetter(*AUDITED_FIELDS)
_NO_AUDITED_VALUES = (None,) * len(AUDITED_FIELDS)


def row_values(row: Connection | Operation) -> RowValues:
    """Return a row's values in the order of its fields."""
    values: RowValues = _VALUE_GETTERS[type(row)](row)
    return values


def _copy_row(row: RowType) -> RowType:
    return type(row)(*row_values(row))


@dataclass(slots=True)
class Change:
    """One step as it is audited and pushed: connection and operation are copies made just after it."""

    action: str
    connection: Connection
    operation: Operation | None
    fields: dict[str, tuple[Any, Any]]
    # What the connection's status speaks of then; not always what this change is about.
    running_operation: Operation | None = None


@dataclass
class ConnectionAggregate:
    """One connection, locked, with its open operations, the newest of each kind, and any that were asked for by id."""

    connection: Connection
    operations: dict[UUID, Operation] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    # When it was locked, by the database's clock; None of one that is only looked at, or new.
    locked_at: datetime | None = None

    def __post_init__(self) -> None:
        # The values that have been noted, and those that the database holds: nothing yet.
        self._last_recorded: RowValues = _NO_AUDITED_VALUES
        self.stored_connection: RowValues | None = None
        self._stored_operations: dict[UUID, RowValues] = {}

    def mark_as_stored(self) -> None:
        """Remember that the database holds this aggregate as it is now."""
        self._last_recorded = _GET_AUDITED_VALUES(self.connection)
        self.stored_connection = row_values(self.connection)
        self._stored_operations = {key: row_values(operation) for key, operation in self.operations.items()}
        self.changes = []

    @property
    def is_new(self) -> bool:
        """Tell whether the connection has no row yet."""
        return self.stored_connection is None

    def connection_difference(self) -> RowDifference | None:
        """Return how the connection differs from its row, or None if it does not or has no row yet."""
        now, stored = row_values(self.connection), self.stored_connection
        return None if stored is None or now == stored else (now, stored)

    def operation_differences(self) -> list[RowDifference]:
        """Return how operations differ from their rows, of those that do."""
        known = self._stored_operations
        both = [(row_values(o), row) for o in self.operations.values() if (row := known.get(o.id)) is not None]
        return [(now, row) for now, row in both if now != row]

    def new_operation_values(self) -> list[RowValues]:
        """Return the operations that have no row yet."""
        return [row_values(o) for o in self.operations.values() if o.id not in self._stored_operations]

    def open_operation(self, kind: str) -> Operation | None:
        """Return the one open operation of a kind."""
        for operation in self.operations.values():
            if operation.kind == kind and operation.is_open:
                return operation
        return None

    def newest_operation(self, kind: str) -> Operation | None:
        """Return the operation of a kind that was asked for last."""
        of_kind = [operation for operation in self.operations.values() if operation.kind == kind]
        return max(of_kind, key=_GET_ID, default=None)

    def last_finished_operation(self, kind: str) -> Operation | None:
        """Return the operation of a kind that was asked for last of those that have ended."""
        ended = [o for o in self.operations.values() if o.kind == kind and not o.is_open]
        return max(ended, key=_GET_ID, default=None)

    def running_operation(self) -> Operation | None:
        """Return the operation that the status shows: a sync goes before a verification."""
        return self.open_operation("sync") or self.open_operation("verify")

    def record_change(self, action: str, *, operation: Operation | None = None) -> None:
        """Note a change: what differs in the connection since the last one, and why."""
        running = self.running_operation()
        self.connection.status = CONNECTION_STATUS_BY_KIND[running.kind] if running else "idle"
        previous, self._last_recorded = self._last_recorded, _GET_AUDITED_VALUES(self.connection)
        compared = zip(AUDITED_FIELDS, previous, self._last_recorded, strict=True)
        changed = {name: (old, new) for name, old, new in compared if old != new}
        copied = operation and _copy_row(operation)
        running_copy = copied if running is operation else running and _copy_row(running)
        self.changes.append(Change(action, _copy_row(self.connection), copied, changed, running_copy))


def ended_verification_ids(changes: Iterable[Change]) -> set[UUID]:
    """Return the verifications that have ended by these changes: nobody will come for their credentials any more."""
    operations = (change.operation for change in changes if change.operation is not None)
    return {operation.id for operation in operations if operation.kind == "verify" and not operation.is_open}


# What a connection is called while an operation of a kind is open.
CONNECTION_STATUS_BY_KIND = {"sync": "syncing", "verify": "verifying"}
