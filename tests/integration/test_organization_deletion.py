"""What goes with an organization that its owner deletes: all of its own, the trail too, and nothing of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from flask import Flask

from tests.factories import Browser, owner
from tests.waiting import eventually

COUNTS = """
    SELECT 'organizations', count(*) FROM organizations WHERE id = %(id)s
    UNION ALL SELECT 'data_source_connections', count(*) FROM data_source_connections WHERE organization_id = %(id)s
    UNION ALL SELECT 'operations', count(*) FROM operations WHERE organization_id = %(id)s
    UNION ALL SELECT 'audit_logs', count(*) FROM audit_logs WHERE organization_id = %(id)s
"""

AUDIT = (
    "INSERT INTO audit_logs (id, organization_id, actor_type, action, changes, created_at)"
    " VALUES (gen_random_uuid(), %s, 'external_service', 'late', '{}', now())"
)
DELETE = "DELETE FROM organizations WHERE id = %s"


def rows_of(web: Flask, organization_id: UUID) -> dict[str, int]:
    with owner(web) as cursor:
        cursor.execute(COUNTS, {"id": str(organization_id)})
        return dict(cursor.fetchall())


def at_work(web: Flask) -> Browser:
    browser = Browser(web)
    browser.put("/api/data-sources/websearch", {})
    assert browser.post(f"/api/data-sources/{browser.connection('websearch')['id']}/sync").status_code == 200
    return browser


def test_an_organization_takes_all_that_is_its_own_along_and_nothing_else(web: Flask) -> None:
    ada, eve = at_work(web), at_work(web)
    before = rows_of(web, eve.organization_id)
    assert all(rows_of(web, ada.organization_id).values())

    with owner(web) as cursor:
        cursor.execute(DELETE, [str(ada.organization_id)])

    assert not any(rows_of(web, ada.organization_id).values())
    assert rows_of(web, eve.organization_id) == before


def test_who_deletes_an_organization_sees_no_more_afterwards(web: Flask) -> None:
    ada, eve = at_work(web), at_work(web)

    with owner(web, scope="app.organization_ids", to=f"{{{ada.organization_id}}}") as cursor:
        cursor.execute(DELETE, [str(ada.organization_id)])
        assert cursor.rowcount == 1
        cursor.execute("SELECT count(*) FROM audit_logs")
        assert cursor.fetchone() == (0,)

    assert not any(rows_of(web, ada.organization_id).values())
    assert all(rows_of(web, eve.organization_id).values())


def test_what_is_being_written_of_an_organization_goes_with_it_too(web: Flask) -> None:
    ada = at_work(web)

    def delete() -> None:
        with owner(web) as cursor:
            cursor.execute(DELETE, [str(ada.organization_id)])

    def waiting() -> bool:
        cursor.execute("SELECT FROM pg_locks WHERE transactionid = pg_current_xact_id()::xid AND NOT granted")
        return bool(cursor.rowcount)

    with ThreadPoolExecutor(1) as threads:
        with owner(web) as cursor:
            cursor.execute(
                "SELECT FROM data_source_connections WHERE id = %s FOR NO KEY UPDATE",
                [ada.connection("websearch")["id"]],
            )
            deletion = threads.submit(delete)
            eventually(waiting)
            cursor.execute(AUDIT, [str(ada.organization_id)])
        deletion.result(timeout=10)

    assert not any(rows_of(web, ada.organization_id).values())
