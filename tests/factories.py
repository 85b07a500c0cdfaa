"""Ready-made things for tests: tokens, rows, messages. Every default may be overridden by keyword."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID, uuid4

import jwt
import psycopg2
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from uuid_utils.compat import uuid7

from app.domain.aggregate import Connection, ConnectionAggregate, Operation
from app.domain.lifecycle import Deadlines
from app.domain.status_messages import Report, parse_report
from app.services import status_updates
from app.services.status_updates import AppliedBatch
from app.unit_of_work import unit_of_work
from tests.databases import transaction

Fact = TypeVar("Fact")

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PATIENCE = Deadlines(
    verification=timedelta(minutes=2),
    sync_delivery=timedelta(minutes=20),
    sync_start=timedelta(minutes=30),
    sync_silence=timedelta(hours=2),
)


def id_made_at(moment: datetime) -> str:
    """Return an id as an operation or an audit row of that moment has it."""
    return str(uuid7(nanoseconds=int(moment.timestamp() * 1e9)))


def a_token(app: Flask, **claims: Any) -> str:
    """Return a signed token; a claim of None is left out."""
    settings = app.extensions["settings"]
    content = {
        "sub": str(uuid4()),
        "email": "ada@example.org",
        "organization_id": str(uuid4()),
        "role": "admin",
        "exp": datetime.now(UTC) + timedelta(hours=1),
    } | claims
    return jwt.encode({key: value for key, value in content.items() if value is not None}, settings.jwt_secret)


class Browser:
    """One signed-in person's HTTP client."""

    def __init__(self, app: Flask, *, organization_id: UUID | None = None, role: str = "admin") -> None:
        self.organization_id = organization_id or uuid4()
        self.user_id = uuid4()
        self.token = a_token(app, sub=str(self.user_id), organization_id=str(self.organization_id), role=role)
        self.client: FlaskClient = app.test_client()

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        if body is not None:
            options["json"] = body
        return self.client.open(path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.call("PUT", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.call("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self.call("DELETE", path, **options)

    def seeded(self, type_name: str = "confluence") -> str:
        """Seed, and return the id of one type's connection."""
        self.post("/api/data-sources/seed")
        return str(self.connection(type_name)["id"])

    def connection(self, type_name: str = "confluence") -> dict[str, Any]:
        """Return one type's connection as the API shows it."""
        (found,) = self.get(f"/api/data-sources?type={type_name}").json["data"]
        return dict(found)


def a_connection(**fields: Any) -> Connection:
    values: dict[str, Any] = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "type": "confluence",
        "name": "Confluence",
        "created_by": uuid4(),
        "updated_by": uuid4(),
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Connection(**values | fields)


def an_operation(connection: Connection, **fields: Any) -> Operation:
    values: dict[str, Any] = {
        "id": uuid7(),
        "organization_id": connection.organization_id,
        "connection_id": connection.id,
        "kind": "sync",
        "origin": "user",
        "requested_by": uuid4(),
        "requested_email": "ada@example.org",
        "request": {"connection_name": connection.name, "config": connection.config},
        "created_at": NOON,
        "deadline_at": NOON + timedelta(minutes=2),
        "state": "delivered",
        "attempts": 1,
    }
    return Operation(**values | fields)


def a_case(connection: Connection, *operations: Operation) -> ConnectionAggregate:
    """Return a case as if it had just been loaded."""
    case = ConnectionAggregate(connection, {operation.id: operation for operation in operations})
    case.mark_as_stored()
    return case


def a_sync_message(connection: Any, status: str = "sync_completed", **fields: Any) -> dict[str, Any]:
    """Return a status message's JSON; `connection` is a Connection or the API's dictionary of one."""
    return (
        _addressed(connection)
        | {
            "type": "sync",
            "status": status,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        | fields
    )


def a_verification_message(connection: Any, status: str = "success", **fields: Any) -> dict[str, Any]:
    return _addressed(connection) | {"type": "verification", "status": status, "options": None, "error": None} | fields


def a_report(message: dict[str, Any], *, queue: str = "data_source_status") -> Report:
    return parse_report(json.dumps(message, default=str), queue_name=queue)


def _addressed(connection: Any) -> dict[str, Any]:
    if isinstance(connection, Connection):
        return {"connection_id": str(connection.id), "tenant_id": str(connection.organization_id)}
    return {"connection_id": connection["id"], "tenant_id": connection["organization_id"]}


def rows(app: Flask, query: str, **values: Any) -> list[dict[str, Any]]:
    """Return what a query finds among the rows of every organization."""
    with app.app_context(), unit_of_work(all_tenants=True) as work:
        return [dict(row) for row in work.session.execute(text(query), values).mappings()]


def apply_messages(app: Flask, *messages: dict[str, Any]) -> AppliedBatch:
    """Apply status messages as the worker does."""
    reports = [a_report(message) for message in messages]
    with app.app_context(), unit_of_work(tenant_ids={report.tenant_id for report in reports}) as work:
        return status_updates.apply_reports(work.session, reports, deadlines=PATIENCE)


def in_parallel(count: int, act: Callable[[int], Fact]) -> list[Fact]:
    """Do something so many times at once, each time in a thread of its own; return what came of each."""
    start = Barrier(count)

    def one(number: int) -> Fact:
        start.wait()
        return act(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def forget_organizations(app: Flask) -> None:
    """Empty every table. With so few rows far quicker than to truncate, which makes new files for each index."""
    as_owner(app, "DELETE FROM organizations")


def as_owner(app: Flask, statements: str) -> None:
    """Run statements as the owner of the tables, on the rows of every organization."""
    with transaction(app.extensions["settings"].owner_database_url) as cursor:
        cursor.execute("SELECT set_config('app.system', 'on', true)")
        cursor.execute(statements)


@contextmanager
def owner(app: Flask, *, scope: str = "app.system", to: str = "on") -> Iterator[Any]:
    """Open a transaction of the owner of the tables with a scope, committed at the end."""
    owner_url = app.extensions["settings"].owner_database_url
    with closing(psycopg2.connect(owner_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [scope, to])
        yield cursor
