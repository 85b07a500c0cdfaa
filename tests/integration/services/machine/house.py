"""An organization behind the services' doors, at a time of its own, and a look at all that is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from flask import Flask
from psycopg2.extensions import connection as Postgres  # noqa: N812 - it is a class
from psycopg2.extras import RealDictCursor

from app.domain import ids, source_types
from app.domain.actors import Actor
from app.domain.aggregate import Change, Operation
from app.domain.lifecycle import Deadlines
from app.domain.retry import AttemptOutcome, RetryVerdict
from app.extensions import Session
from app.outbound import events
from app.outbound.dead_letters import DeadLetter
from app.services import connections, deliveries, operations
from app.unit_of_work import unit_of_work
from tests.factories import NOON

# Longer than a verification may take, so that one can be overdue while it is being delivered.
LEASE = timedelta(seconds=130)
QUEUE = "data_source_status"
Row = dict[str, Any]


_ALL_ROWS = """
    SELECT concat(
        (SELECT json_agg(c ORDER BY id) FROM data_source_connections c WHERE organization_id = %(id)s),
        (SELECT json_agg(o ORDER BY id) FROM operations o WHERE organization_id = %(id)s),
        (SELECT json_agg(a ORDER BY id) FROM audit_logs a WHERE organization_id = %(id)s)
    )
"""


@dataclass
class Written:
    """All that is written of one organization: its rows now, and what was audited and pushed since the last look."""

    connections: list[Row]
    operations: list[Row]
    audited: list[Row]
    pushed: list[Row]


class House:
    """One organization. `now` is its time, which every service is given."""

    def __init__(self, app: Flask, postgres: Postgres, *, patience: Deadlines | None = None) -> None:
        self.app, self.postgres = app, postgres
        self.settings = app.extensions["settings"]
        self.patience = patience or self.settings.deadlines
        self.id, self.now = uuid4(), NOON
        self.actor = Actor("user", id=uuid4(), email="ada@example.org", request_id="by-request")
        self._audited, self._pushed = str(UUID(int=0)), "0-0"

    @contextmanager
    def work(self, *, system: bool = False) -> Iterator[tuple[Session, Callable[[list[Change]], None]]]:
        """Open a unit of work, as the doors do, and what promises its events."""
        tenants = [] if system else [self.id]
        with self.app.app_context(), unit_of_work(tenant_ids=tenants, all_tenants=system) as work:
            yield work.session, lambda changes: work.after_commit(lambda: events.publish_changes(changes))

    def seed(self) -> int:
        """Return how many connections were missing."""
        with self.work() as (session, push):
            changes = connections.create_seeded_connections(session, self.id, actor=self.actor, now=self.now)
            push(changes)
        return len(changes)

    def configure(self, connection_id: str, fields: Mapping[str, Any]) -> None:
        wanted = UUID(connection_id)
        with self.work() as (session, push):
            push(connections.configure_connection(session, wanted, fields=fields, actor=self.actor, now=self.now)[1])

    def configure_type(self, type_name: str, fields: Mapping[str, Any]) -> str:
        entry = (source_types.SEEDED_TYPES | source_types.OPTIONAL_TYPES)[type_name]
        with self.work() as (session, push):
            case, changes = connections.configure_connection_of_type(
                session, self.id, entry, fields=fields, actor=self.actor, now=self.now
            )
            push(changes)
        return str(case.connection.id)

    def create(self, type_name: str, fields: Mapping[str, Any]) -> str:
        entry = source_types.OPTIONAL_TYPES[type_name]
        with self.work() as (session, push):
            case, changes = connections.create_connection(
                session, self.id, entry, fields=fields, actor=self.actor, now=self.now
            )
            push(changes)
        return str(case.connection.id)

    def delete(self, connection_id: str) -> None:
        with self.work() as (session, push):
            push(connections.delete_connection(session, UUID(connection_id), actor=self.actor, now=self.now)[2])

    def press(self, kind: str, connection_id: str, **how: Any) -> str:
        """Press verify or sync; return the operation's id."""
        made = ids.new_id_at(self.now)
        common = {"operation_id": made, "patience": self.patience, "actor": self.actor, "now": self.now}
        with self.work() as (session, push):
            if kind == "verify":
                opened = operations.open_verification(session, UUID(connection_id), **common, **how)
            else:
                opened = operations.open_sync(session, UUID(connection_id), **common, **how)
            push(opened.changes)
        return str(opened.operation.id)

    def dispatch(self, *, lose: bool) -> list[str]:
        """Mark what is due, as beat does, and take the marks back if its jobs are to be lost; return the ids."""
        with self.work(system=True) as (session, _):
            found = deliveries.take_due_operations(session, now=self.now)
        due = [delivery.operation_id for delivery in (*found.without_job, *found.job_overdue)]
        if lose and due:
            with self.work(system=True) as (session, _):
                deliveries.clear_job_marks(session, due)
        return [str(operation_id) for operation_id in due]

    def claim(self, operation_id: str) -> Operation | None:
        with self.work(system=True) as (session, _):
            claims = deliveries.claim_due_operations(session, [UUID(operation_id)], post_timeout=LEASE, now=self.now)
        return next((claim.operation for claim in claims.values()), None)

    def record(self, claimed: Operation, verdict: RetryVerdict, *, error: str | None) -> None:
        attempt = deliveries.AttemptResult(claimed, AttemptOutcome(verdict, status_code=None, error=error))
        with self.work() as (session, push):
            _, changes = deliveries.record_attempt_results(
                session,
                [attempt],
                retry_schedule_for=self.settings.webhook_retry_schedule,
                deadlines=self.patience,
                now=self.now,
            )
            push(changes)

    def end(self, operation_id: str) -> None:
        """End an operation for the person who has given up on it."""
        with self.work() as (session, push):
            push(operations.end_operation(session, UUID(operation_id), actor=self.actor, now=self.now)[1])

    def sweep(self) -> list[Change]:
        """End what is overdue, as beat does."""
        with self.work(system=True) as (session, _):
            overdue = operations.find_connections_with_overdue_operations(session, now=self.now)
        with self.work(system=True) as (session, push):
            changes = operations.expire_overdue_operations(session, overdue, now=self.now)
            push(changes)
        return changes

    def hear(self, *bodies: str) -> list[DeadLetter]:
        """Apply a batch of messages, as the status worker does; return those that cannot be."""
        from tasks import status  # noqa: PLC0415 - not before the environment is set, see the fixture `celery_module`

        with self.app.app_context():
            refused = status.apply_raw_messages([(QUEUE, body) for body in bodies], now=self.now)
        return [DeadLetter(bodies[place].encode(), why.reason, why.detail) for place, why in sorted(refused.items())]

    def look(self) -> Written:
        """Read, below the services and in the system's scope, all that there is."""
        rows = self._select("SELECT * FROM data_source_connections WHERE organization_id = %(id)s ORDER BY id")
        asked = self._select("SELECT * FROM operations WHERE organization_id = %(id)s ORDER BY id")
        audited = self._select(
            "SELECT * FROM audit_logs WHERE organization_id = %(id)s AND id > %(after)s ORDER BY id",
            after=self._audited,
        )
        stream = self.app.extensions["redis"].xrange(self._stream, min=f"({self._pushed}")
        if audited:
            self._audited = audited[-1]["id"]
        if stream:
            self._pushed = stream[-1][0].decode()
        return Written(rows, asked, audited, [json.loads(fields[b"data"]) for _, fields in stream])

    def fingerprint(self) -> tuple[str, int]:
        """Return all rows as one text, and the number of events: enough to tell that nothing changed."""
        with self.postgres.cursor() as cursor:
            cursor.execute(_ALL_ROWS, {"id": str(self.id)})
            (rows,) = cursor.fetchone() or ("",)
        return rows, self.app.extensions["redis"].xlen(self._stream)

    def forget(self) -> None:
        """Leave nothing behind: the sweeps look at every organization."""
        with self.postgres.cursor() as cursor:
            cursor.execute("DELETE FROM organizations WHERE id = %s", [str(self.id)])
        self.app.extensions["redis"].delete(self._stream)

    @property
    def _stream(self) -> str:
        return f"{events.channel_of_organization(self.id)}:events"

    def _select(self, query: str, **values: str) -> list[Row]:
        with self.postgres.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query, {"id": str(self.id), **values})
            return [dict(row) for row in cursor.fetchall()]


@dataclass
class Neighbour:
    """Another organization, and what is written of it."""

    house: House
    untouched: tuple[str, int]
    ids: dict[str, str]
