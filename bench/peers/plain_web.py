"""Bare Flask views: the sync button without operation and audit, and the two reads as one would write them first."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import jwt
from flask import Flask, jsonify, request
from flask.wrappers import Response
from psycopg2.extras import RealDictCursor, register_uuid

from bench.peers.celery_webhook import deliver
from bench.peers.database import transaction

register_uuid()  # type: ignore[no-untyped-call]
app = Flask(__name__)

COLUMNS = (
    "id, organization_id, type, name, description, config, status, last_sync_status, latest_options, enabled,"
    " last_verification_at, last_verification_error, last_sync_at, last_sync_error, created_by, updated_by,"
    " created_at, updated_at"
)
LIST = f"SELECT {COLUMNS} FROM data_source_connections WHERE organization_id = %s AND deleted_at IS NULL ORDER BY created_at, type"  # noqa: E501, S608
SHOW = f"SELECT {COLUMNS} FROM data_source_connections WHERE id = %s AND deleted_at IS NULL"  # noqa: S608 - constants
RUNNING = (
    "SELECT id, connection_id, kind, origin, state, attempts, next_attempt_at, last_status_code, last_attempt_error,"
    " created_at, delivered_at, started_at, deadline_at, documents_processed FROM operations"
    " WHERE connection_id = ANY(%s) AND state IN ('pending', 'delivered', 'running')"
)
PRESS = (
    "UPDATE data_source_connections SET status = 'syncing', last_sync_at = %s WHERE id = %s AND deleted_at IS NULL"
    " RETURNING type, name, config"
)


def claims() -> dict[str, Any]:
    """Return what the request's token says."""
    token = request.headers["Authorization"].removeprefix("Bearer ")
    return dict(jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"]))


@app.get("/")
def ready() -> str:
    """Answer that it serves."""
    return "ready"


@app.get("/api/data-sources")
def index() -> Response:
    """List an organization's connections, with what runs on each."""
    organization_id = claims()["organization_id"]
    with transaction(organization_id, cursor_factory=RealDictCursor) as cursor:
        cursor.execute(LIST, [organization_id])
        return jsonify(data=_with_running(cursor))


@app.get("/api/data-sources/<uuid:connection_id>")
def show(connection_id: Any) -> Response:
    """Show one connection, with what runs on it."""
    with transaction(claims()["organization_id"], cursor_factory=RealDictCursor) as cursor:
        cursor.execute(SHOW, [connection_id])
        return jsonify(data=_with_running(cursor)[0])


def _with_running(cursor: Any) -> list[dict[str, Any]]:
    rows = [dict(row) for row in cursor.fetchall()]
    cursor.execute(RUNNING, [[row["id"] for row in rows]])
    running = {row.pop("connection_id"): dict(row) for row in cursor.fetchall()}
    return [row | {"operation": running.get(row["id"])} for row in rows]


@app.post("/api/data-sources/<connection_id>/sync")
def sync(connection_id: str) -> Response:
    """Mark the connection and enqueue its webhook."""
    who, now = claims(), datetime.now(UTC)
    with transaction(who["organization_id"]) as cursor:
        cursor.execute(PRESS, [now, connection_id])
        type_name, name, config = cursor.fetchone()
    deliver.delay(
        {
            "source": "rita-data-sources",
            "action": "data_source_sync_requested",
            "user_email": who["email"],
            "user_id": who["sub"],
            "tenant_id": who["organization_id"],
            "timestamp": now.isoformat(timespec="milliseconds"),
            "connection_id": connection_id,
            "connection_type": type_name,
            "connection_name": name,
            "config": config,
        }
    )
    return jsonify(success=True, data={"id": connection_id, "status": "syncing", "triggered_at": now.isoformat()})
