"""What an organization sees at a glance, and that it sees nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.services import overview
from tests.factories import Browser, a_sync_message, apply_messages, id_made_at, owner

PATH = "/api/overview"
NOW = datetime.now(UTC)
# So many days ago, how it ended, what it counted.
SYNCS = [(0, "sync_completed", 40), (0, "sync_failed", 2), (3, "sync_completed", 5), (40, "sync_completed", 9)]


@pytest.fixture
def ada(web: Flask) -> Browser:
    person = Browser(web)
    person.seeded()
    person.put("/api/data-sources/websearch", {})
    return person


def report(web: Flask, person: Browser, status: str, **fields: Any) -> None:
    apply_messages(web, a_sync_message(person.connection("websearch"), status, **fields))


def sync(person: Browser) -> str:
    answer = person.post(f"/api/data-sources/{person.connection('websearch')['id']}/sync", {"force": True})
    return str(answer.json["data"]["operation_id"])


def grown_old(web: Flask, operation_id: str, *, days: int) -> None:
    """Let a sync have been so many days ago."""
    then = NOW - timedelta(days=days)
    with owner(web) as cursor:
        cursor.execute(
            "UPDATE operations SET id = %s, created_at = %s, finished_at = %s WHERE id = %s",
            [id_made_at(then), then, then, operation_id],
        )


def test_the_syncs_of_thirty_days_are_counted_by_day_and_outcome(web: Flask, ada: Browser) -> None:
    for days, status, count in SYNCS:
        operation = sync(ada)
        report(web, ada, status, operation_id=operation, documents_processed=count)
        if days:
            grown_old(web, operation, days=days)
    unanswered = sync(ada)
    ada.post(f"/api/operations/{unanswered}/end")
    sync(ada)
    sync(ada)

    shown = ada.get(PATH).json["data"]

    assert len(shown["days"]) == 30
    assert [day["day"] for day in shown["days"]] == sorted(day["day"] for day in shown["days"])
    counted = {day["day"]: day for day in shown["days"]}
    today, earlier = counted[str(NOW.date())], counted[str((NOW - timedelta(days=3)).date())]
    assert today == {"day": str(NOW.date()), "succeeded": 1, "failed": 1, "unanswered": 1, "documents": 42}
    assert (earlier["succeeded"], earlier["documents"]) == (1, 5)
    assert sum(day["succeeded"] for day in shown["days"]) == 2


def test_the_last_syncs_of_each_connection_come_newest_first(web: Flask, ada: Browser) -> None:
    first = sync(ada)
    report(web, ada, "sync_completed", operation_id=first, documents_processed=3)
    second = sync(ada)
    report(web, ada, "sync_failed", operation_id=second)

    recent = ada.get(PATH).json["data"]["recent"]

    assert [(row["id"], row["state"], row["documents_processed"]) for row in recent] == [
        (second, "failed", None),
        (first, "succeeded", 3),
    ]
    assert {row["connection_id"] for row in recent} == {ada.connection("websearch")["id"]}


def test_of_each_connection_its_newest_syncs_are_counted_and_no_more(
    web: Flask, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a service that reports any number, or of a member who has them replaced, a look reads no more than these."""
    for count in (1, 2, 4):
        report(web, ada, "sync_completed", operation_id=sync(ada), documents_processed=count)
    monkeypatch.setattr(overview, "MAX_SYNCS_PER_CONNECTION", 2)

    shown = ada.get(PATH).json["data"]

    assert (shown["days"][-1]["succeeded"], shown["days"][-1]["documents"]) == (2, 6)
    assert [row["documents_processed"] for row in shown["recent"]] == [4, 2]
    for _ in range(3):
        sync(ada)
    assert ada.get(PATH).json["data"]["recent"] == []


def test_it_has_the_organizations_name_where_rita_knows_it(web: Flask, ada: Browser) -> None:
    assert ada.get(PATH).json["data"]["organization_name"] is None
    with owner(web) as cursor:
        cursor.execute("UPDATE organizations SET name = 'Acme' WHERE id = %s", [str(ada.organization_id)])

    shown = ada.get(PATH).json["data"]

    assert (shown["organization_id"], shown["organization_name"]) == (str(ada.organization_id), "Acme")


def test_nobody_sees_what_is_anothers(web: Flask, ada: Browser) -> None:
    report(web, ada, "sync_completed", documents_processed=3)
    eve = Browser(web)
    eve.seeded()

    shown = eve.get(PATH).json["data"]

    assert shown["organization_id"] == str(eve.organization_id)
    assert shown["recent"] == []
    assert sum(day["documents"] for day in shown["days"]) == 0
