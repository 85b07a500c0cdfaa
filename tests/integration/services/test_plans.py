"""What PostgreSQL reads for a batch must not grow with what is open elsewhere, whatever it believes of the tables."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import text

from app.extensions import Session
from app.services import aggregate_store
from app.unit_of_work import unit_of_work
from tests.factories import Browser, as_owner

_USES = text(
    "SELECT relname, pg_stat_get_xact_numscans(oid) AS uses FROM pg_class"
    " WHERE relname IN ('idx_operations_deadline', 'idx_operations_history', 'uq_operations_open')"
)

# So many that PostgreSQL looks them up one by one.
_MANY_CONNECTIONS = """
    INSERT INTO organizations (id) SELECT md5(n::text)::uuid FROM generate_series(1, 10000) AS n;

    INSERT INTO data_source_connections (id, organization_id, type, name, created_by, updated_by)
    SELECT md5('connection ' || n)::uuid, md5(n::text)::uuid, 'websearch', 'Web search', md5('')::uuid, md5('')::uuid
    FROM generate_series(1, 10000) AS n;
"""

# PostgreSQL gathers its statistics while nothing is open; then each connection gets an open operation.
_MANY_OPEN_AFTER_A_QUIET_MOMENT = """
    INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, created_at, finished_at)
    SELECT gen_random_uuid(), organization_id, id, 'sync', 'service', 'succeeded', now(), now()
    FROM data_source_connections, generate_series(1, 2);

    ANALYZE operations, data_source_connections;

    UPDATE operations SET state = 'running', finished_at = NULL, deadline_at = now() + interval '1 hour'
    WHERE id IN (SELECT DISTINCT ON (connection_id) id FROM operations);
"""


def _uses(session: Session) -> Counter[str]:
    """Return how often each index was used; PostgreSQL counts what it has not made known yet, earlier work's, too."""
    return Counter({row.relname: row.uses for row in session.execute(_USES)})


def test_the_operations_of_a_batch_are_looked_up_and_not_found_among_all_that_are_open(web: Flask) -> None:
    connection_id = UUID(Browser(web).seeded())
    as_owner(web, _MANY_CONNECTIONS)
    as_owner(web, _MANY_OPEN_AFTER_A_QUIET_MOMENT)

    with web.app_context(), unit_of_work(all_tenants=True) as work:
        before = _uses(work.session)
        (case,) = aggregate_store.load_for_update(work.session, [connection_id]).values()
        uses = _uses(work.session) - before

    assert len(case.operations) == 1
    assert set(uses) == {"uq_operations_open"}


# It gathers them before the first operations.
_MANY_OPEN_AT_FIRST = """
    ANALYZE operations, data_source_connections;

    INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, created_at, deadline_at)
    SELECT gen_random_uuid(), organization_id, id, 'sync', 'service', 'running', now(), now() + interval '1 hour'
    FROM data_source_connections;
"""

# The second of the message: the first takes the locks.
_PREPARED = text("SELECT max(name) FROM pg_prepared_statements WHERE statement LIKE '%theirs%'")


def _removed(plan: dict[str, Any]) -> float:
    """Return how many pairs of rows a plan put together to no use."""
    here: float = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
    return here + sum(_removed(part) for part in plan.get("Plans", ()))


def test_each_operation_of_a_batch_is_not_held_against_each_connection(web: Flask) -> None:
    as_owner(web, _MANY_CONNECTIONS)
    as_owner(web, _MANY_OPEN_AT_FIRST)

    with web.app_context(), unit_of_work(all_tenants=True) as work:
        ids = work.session.scalars(text("SELECT id FROM data_source_connections LIMIT 200")).all()
        cases = aggregate_store.load_for_update(work.session, ids)
        name = work.session.scalar(_PREPARED)
        explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}(:ids)")
        ((plan,),) = work.session.scalars(explained, {"ids": "{" + ",".join(map(str, ids)) + "}"})

    assert [len(case.operations) for case in cases.values()] == [1] * 200
    assert _removed(plan["Plan"]) < 200
