"""What one status message does, the plain way: one message, one transaction, then one PUBLISH.

The same rows as the product writes: the connection, its operation, and an audit row. Both status peers call this, so
that they differ in nothing but what stands around it.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

import psycopg2
from psycopg2.extras import Json
from redis import Redis
from uuid_utils.compat import uuid7

SCOPE = "SELECT set_config('app.organization_ids', %s, true)"
FIND = (
    "SELECT status, last_sync_status, last_sync_at FROM data_source_connections"
    " WHERE id = %s AND deleted_at IS NULL FOR NO KEY UPDATE"
)
STARTED = (
    "UPDATE data_source_connections SET status = 'syncing', sync_reported_at = %s, sync_reported_rank = 0 WHERE id = %s"
)
COMPLETED = (
    "UPDATE data_source_connections SET status = 'idle', last_sync_status = 'completed', last_sync_at = %s,"
    " last_sync_error = NULL, sync_reported_at = %s, sync_reported_rank = 1 WHERE id = %s"
)
OPEN = (
    "INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, created_at, started_at,"
    " last_reported_at, documents_processed) VALUES (%s, %s, %s, 'sync', 'service', 'running', %s, %s, %s, %s)"
)
FINISH = (
    "UPDATE operations SET state = 'succeeded', finished_at = %s, last_reported_at = %s, documents_processed = %s"
    " WHERE connection_id = %s AND kind = 'sync' AND state IN ('pending', 'delivered', 'running') RETURNING id"
)
AUDIT = (
    "INSERT INTO audit_logs (id, organization_id, connection_id, operation_id, actor_type, action, changes, created_at)"
    " VALUES (%s, %s, %s, %s, 'external_service', %s, %s, %s)"
)


@cache
def database() -> Any:
    """Return this process's connection."""
    return psycopg2.connect(os.environ["DATABASE_URL"])


@cache
def redis() -> Redis:
    """Return this process's client."""
    return Redis.from_url(os.environ["REDIS_URL"])


def apply(message: dict[str, Any]) -> None:
    """Apply one message and publish its event in flask-sse's format."""
    now = datetime.now(UTC)
    connection = database()
    with connection, connection.cursor() as cursor:
        event = _write(cursor, message, now=now)
    published = {"data": json.dumps(event, default=str), "type": "data_source_update"}
    redis().publish(f"rita:sse:{message['tenant_id']}", json.dumps(published))


def _write(cursor: Any, message: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    tenant, connection_id, at = message["tenant_id"], message["connection_id"], message["timestamp"]
    documents = message.get("documents_processed")
    cursor.execute(SCOPE, [f"{{{tenant}}}"])
    cursor.execute(FIND, [connection_id])
    status, last_status, last_at = cursor.fetchone()
    if message["status"] == "sync_started":
        operation_id = str(uuid7())
        cursor.execute(STARTED, [at, connection_id])
        cursor.execute(OPEN, [operation_id, tenant, connection_id, now, now, at, documents])
        changes = {"status": [status, "syncing"]}
        shown = {"status": "syncing", "last_sync_status": last_status, "last_sync_at": last_at}
    else:
        cursor.execute(COMPLETED, [now, at, connection_id])
        cursor.execute(FINISH, [now, at, documents, connection_id])
        (operation_id,) = cursor.fetchone()
        changes = {
            "status": [status, "idle"],
            "last_sync_status": [last_status, "completed"],
            "last_sync_at": [last_at and last_at.isoformat(), now.isoformat()],
        }
        shown = {"status": "idle", "last_sync_status": "completed", "last_sync_at": now}
    cursor.execute(AUDIT, [str(uuid7()), tenant, connection_id, operation_id, message["status"], Json(changes), now])
    return {"connectionId": connection_id, "documentsProcessed": documents, "timestamp": now} | shown
