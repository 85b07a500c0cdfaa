"""Reports delivered in batches to rows that remember: what the worker and its database do, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from app.domain import lifecycle
from app.domain.aggregate import Connection, ConnectionAggregate, Operation
from app.domain.status_messages import Report
from app.domain.sync_order import newest_service_time_of
from tests.factories import NOON, PATIENCE, a_connection, an_operation

BEGINNING = datetime.min.replace(tzinfo=UTC)
UNAUDITED = (".delivered", ".delayed", ".progress")


class Rows:
    """One connection with all its operations, of which a case gets no more than the ledger would load."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = connection or a_connection(enabled=True)
        self.operations: dict[UUID, Operation] = {}
        self.audited: list[tuple[str, UUID]] = []
        self.now = NOON

    def hear(self, *reports: Report) -> int:
        """Apply a batch; return how many of it were late."""
        named = {report.operation_id for report in reports}
        case = self._case(lambda operation: operation.is_open or operation.id in named)
        moments = lifecycle.report_times_needing_history(case, reports, other_ends_possible=False, now=self.now)
        if moments is not None:
            known = [*self._neighbours(moments), *self._last_finished()]
            case.operations |= {operation.id: copy(operation) for operation in known if operation.id not in named}
            case.mark_as_stored()
        applied = [
            lifecycle.apply_report(case, report, new_id=uuid7, deadlines=PATIENCE, now=self.now) for report in reports
        ]
        self._write(case)
        return applied.count(False)

    def press(self, operation_id: UUID) -> None:
        """Ask for a sync in place of whatever runs."""
        operation = an_operation(
            self.connection, id=operation_id, state="pending", attempts=0, deadline_at=self.now + PATIENCE.sync_delivery
        )
        self.act(lambda case: lifecycle.open_requested_operation(case, operation, now=self.now))

    def deliver(self) -> None:
        self.act(lambda case: self._on_open(case, self._deliver))

    def give_up(self) -> None:
        self.act(lambda case: self._on_open(case, self._give_up))

    def expire(self) -> None:
        self.act(lambda case: self._on_open(case, lambda c, o: lifecycle.expire_operation(c, o, now=self.now)))

    def act(self, step: Callable[[ConnectionAggregate], Any]) -> None:
        case = self._case(lambda operation: operation.is_open)
        step(case)
        self._write(case)

    def history(self) -> list[Operation]:
        return [self.operations[key] for key in sorted(self.operations)]

    def _deliver(self, case: ConnectionAggregate, operation: Operation) -> None:
        operation.attempts = max(operation.attempts, 1)
        lifecycle.record_delivery(case, operation, deadlines=PATIENCE, now=self.now)

    def _give_up(self, case: ConnectionAggregate, operation: Operation) -> None:
        operation.attempts = max(operation.attempts, 1)
        lifecycle.record_undeliverable(case, operation, ending="service_down", error="no route", now=self.now)

    def _on_open(self, case: ConnectionAggregate, step: Callable[[ConnectionAggregate, Operation], None]) -> None:
        operation = case.open_operation("sync")
        if operation is not None:
            step(case, operation)

    def _case(self, is_wanted: Callable[[Operation], bool]) -> ConnectionAggregate:
        loaded = {key: copy(operation) for key, operation in self.operations.items() if is_wanted(operation)}
        case = ConnectionAggregate(copy(self.connection), loaded)
        case.mark_as_stored()
        return case

    def _write(self, case: ConnectionAggregate) -> None:
        self.audited += [
            (change.action, change.operation.id)
            for change in case.changes
            if change.operation is not None and not change.action.endswith(UNAUDITED)
        ]
        self.connection = case.connection
        self.operations |= case.operations
        self.now += timedelta(seconds=1)

    def _ended(self) -> list[Operation]:
        return [operation for operation in self.history() if not operation.is_open]

    def _last_finished(self) -> list[Operation]:
        newest = {operation.kind: operation for operation in self._ended()}
        return list(newest.values())

    def _neighbours(self, moments: Sequence[datetime]) -> list[Operation]:
        found = []
        for moment in moments:
            ended = [operation for operation in self._ended() if operation.kind == "sync"]
            before = [number for number, o in enumerate(ended) if (newest_service_time_of(o) or BEGINNING) < moment]
            first = before[-1] if before else 0
            found += ended[first : first + 3]
            found += [
                o for o in ended[max(0, first - 10) : first] if (newest_service_time_of(o) or BEGINNING) >= moment
            ]
        return found


def outcome(rows: Rows, *, is_placed: bool = True) -> dict[str, Any]:
    """Return what must be the same whatever the order: all but ids and the times of our own clock.

    The order of history is left out if it `is_placed` no more.
    """
    connection, history = rows.connection, rows.history()
    places = {operation.id: number for number, operation in enumerate(history)}
    if not is_placed:
        history.sort(key=lambda o: (o.origin, o.state, o.reports or ""))
    return {
        "connection": (
            connection.status,
            connection.last_sync_status,
            connection.last_sync_error,
            connection.last_sync_ending,
            connection.last_sync_documents,
            connection.sync_reported_at,
            connection.sync_reported_rank,
        ),
        "operations": [
            (
                o.origin, o.state, o.error, o.documents_processed, o.reported_late, o.last_reported_at,
                o.started_at is None, o.finished_at is None, o.deadline_at is None, o.reports,
            )
            for o in history
        ],
        "audit": Counter((action, places[operation_id]) for action, operation_id in rows.audited),
    }  # fmt: skip
