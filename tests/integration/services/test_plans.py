"""What PostgreSQL reads for a batch must not grow with what is open elsewhere, whatever it believes of the tables."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from flask import Flask
from sqlalchemy import text

from app.extensions import Session
from app.services import ledger
from app.unit_of_work import unit_of_work
from tests.factories import Browser, as_owner

_USES = text(
    "SELECT relname, pg_stat_get_xact_numscans(oid) AS uses FROM pg_class"
    " WHERE relname IN ('idx_operations_deadline', 'idx_operations_history', 'uq_operations_open')"
)

# PostgreSQL gathers its statistics while nothing is open; then each connection gets an open operation.
_MANY_OPEN_AFTER_A_QUIET_MOMENT = """
    INSERT INTO organizations (id) SELECT md5(n::text)::uuid FROM generate_series(1, 1000) AS n;

    INSERT INTO data_source_connections (id, organization_id, type, name, created_by, updated_by)
    SELECT md5('connection ' || n)::uuid, md5(n::text)::uuid, 'websearch', 'Web search', md5('')::uuid, md5('')::uuid
    FROM generate_series(1, 1000) AS n;

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
    as_owner(web, _MANY_OPEN_AFTER_A_QUIET_MOMENT)

    with web.app_context(), unit_of_work(system=True) as work:
        before = _uses(work.session)
        (case,) = ledger.read(work.session, [connection_id]).values()
        uses = _uses(work.session) - before

    assert len(case.operations) == 1
    assert set(uses) == {"uq_operations_open"}
