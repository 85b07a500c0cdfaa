"""The rows that every contestant starts from: organizations with four connections each, ready to sync."""

from __future__ import annotations

from hashlib import md5
from uuid import UUID

from bench.stage import Stage

TYPES = ("confluence", "servicenow", "sharepoint", "websearch")

_FILL = """
TRUNCATE operations, audit_logs, data_source_connections, organizations;

INSERT INTO organizations (id)
SELECT md5('organization ' || n)::uuid FROM generate_series(0, (%(connections)s - 1) / 4) AS n;

INSERT INTO data_source_connections (id, organization_id, type, name, config, enabled, first_enabled_at,
    verified_at, last_verification_at, latest_options, created_by, updated_by)
SELECT md5('connection ' || n)::uuid, md5('organization ' || n / 4)::uuid, (%(types)s)[n %% 4 + 1],
    'Connection ' || n, '{"spaces": ["ENG", "PROD"], "url": "https://acme.example.org"}', true, now(), now(), now(),
    '{"spaces": "ENG,PROD,OPS"}', md5('person')::uuid, md5('person')::uuid
FROM generate_series(0, %(connections)s - 1) AS n;
"""

# Without the foreign keys' checks, which would take longer than all the rest. Ids in the order of time, as ours are.
_HISTORY = """
SET session_replication_role = replica;

INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, created_at, started_at,
    last_reported_at, finished_at, documents_processed)
SELECT uuidv7(age), md5('organization ' || c / 4)::uuid, md5('connection ' || c)::uuid, 'sync', 'service', 'succeeded',
    now() + age, now() + age, now() + age, now() + age, n
FROM (SELECT n, (n * 7919 %% %(connections)s)::int AS c, (n - %(history)s) * interval '80 days' / %(history)s AS age
    FROM generate_series(1, %(history)s::bigint) AS n) AS past;

INSERT INTO audit_logs (id, organization_id, connection_id, actor_type, action, changes, created_at)
SELECT uuidv7(age), md5('organization ' || c / 4)::uuid, md5('connection ' || c)::uuid, 'external_service',
    'sync.succeeded', '{"status": ["syncing", "idle"], "last_sync_status": [null, "completed"]}', now() + age
FROM (SELECT n, (n * 7919 %% %(connections)s)::int AS c, (n - %(history)s) * interval '80 days' / %(history)s AS age
    FROM generate_series(1, %(history)s::bigint) AS n) AS past;
"""


def organization(number: int) -> UUID:
    """Return the id of the organization of connection `number`."""
    return _uuid(f"organization {number // 4}")


def connection(number: int) -> UUID:
    """Return the id of connection `number`; ids are scattered, as real ones are."""
    return _uuid(f"connection {number}")


def _uuid(text: str) -> UUID:
    return UUID(md5(text.encode()).hexdigest())  # noqa: S324 - a name, not a secret


def fill(stage: Stage, *, connections: int, history: int = 0) -> None:
    """Fill the tables anew, and leave nothing of that for the contestant to pay for."""
    stage.sql(_FILL, connections=connections, types=list(TYPES))
    if history:
        stage.sql(_HISTORY, connections=connections, history=history)
    settle(stage)


def settle(stage: Stage) -> None:
    """Let the database finish what it put off, and forget what Redis keeps."""
    stage.sql("VACUUM ANALYZE")
    stage.sql("CHECKPOINT")
    stage.redis.flushall()
