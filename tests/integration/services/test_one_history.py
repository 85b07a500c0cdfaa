"""The same rows whatever the order, the copies and the batches: the domain's rule with what PostgreSQL recalls."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Postgres  # noqa: N812 - it is a class

from app.domain.retry import RetryVerdict
from app.domain.status_messages import Report
from app.services import status_updates
from tests.integration.services.machine.house import House
from tests.unit.domain.test_dated_reports import Word, said, shuffled, syncs
from tests.unit.domain.test_sync_order import IN_ORDER, LATE_END_OF_OURS, told

LONGER = int(os.environ.get("HISTORY_EXAMPLES", "0"))
OF_THE_CONNECTION = ("status", "last_sync_status", "last_sync_error", "sync_reported_at", "sync_reported_rank")
OF_AN_OPERATION = (
    "origin", "state", "error", "documents_processed", "reported_late", "late_reports", "last_reported_at", "reports",
)  # fmt: skip
# Of these only whether they are known: they are times of our own clock.
OF_OURS = ("started_at", "finished_at", "deadline_at", "delivered_at")


@pytest.fixture
def postgres(web: Flask) -> Iterator[Postgres]:
    with closing(psycopg2.connect(web.extensions["settings"].owner_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', false)")
        yield connection


class Scene:
    """An organization with one source, pressed and reported on."""

    def __init__(self, app: Flask, postgres: Postgres) -> None:
        self.house = House(app, postgres)
        self.connection_id = self.house.configure_type("websearch", {"enabled": True})
        self.told = {"id": self.connection_id, "organization_id": str(self.house.id)}

    def press(self) -> str:
        pressed = self.house.press("sync", self.connection_id, force=True)
        claimed = self.house.claim(pressed)
        assert claimed is not None
        self.house.record(claimed, RetryVerdict.DONE, error=None)
        return pressed

    def hear(self, *reports: Report) -> None:
        with self.house.work() as (session, _):
            applied = status_updates.apply_reports(session, reports, deadlines=self.house.patience, now=self.house.now)
        assert applied.refusals == {}

    def outcome(self) -> dict[str, Any]:
        written = self.house.look()
        (connection,) = written.connections
        places = {row["id"]: number for number, row in enumerate(written.operations)}
        return {
            "connection": [connection[name] for name in OF_THE_CONNECTION],
            "operations": [
                [row[name] for name in OF_AN_OPERATION] + [row[name] is None for name in OF_OURS]
                for row in written.operations
            ],
            "audit": Counter((row["action"], places.get(row["operation_id"])) for row in written.audited),
        }


def test_a_press_that_ended_late_is_found_behind_syncs_that_began_after_it(web: Flask, postgres: Postgres) -> None:
    in_order, late = Scene(web, postgres), Scene(web, postgres)

    for scene, batches in ((in_order, IN_ORDER.split(", ")), (late, LATE_END_OF_OURS)):
        pressed = scene.press()
        for words in batches:
            scene.hear(*told(scene.told, words, pressed))

    assert late.outcome()["operations"] == in_order.outcome()["operations"]
    for scene in (in_order, late):
        scene.house.forget()


@settings(
    max_examples=LONGER or 20,
    derandomize=not LONGER,
    database=None,
    phases=[phase for phase in Phase if phase is not Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    before=st.lists(syncs, max_size=2),
    crossing=st.lists(syncs, max_size=1),
    answers=syncs,
    after=st.lists(syncs, max_size=3),
    chance=st.randoms(),
)
def test_the_rows_are_those_of_delivery_in_order_once(
    web: Flask,
    postgres: Postgres,
    before: list[list[Word]],
    crossing: list[list[Word]],
    answers: list[Word],
    after: list[list[Word]],
    chance: random.Random,
) -> None:
    in_order, any_order = Scene(web, postgres), Scene(web, postgres)
    rng = random.Random(chance.random())  # noqa: S311 - no secret

    for scene in (in_order, any_order):
        deliver = _one_by_one if scene is in_order else lambda reports: shuffled(reports, rng)
        own, since = said(scene.told, [word for sync in before for word in sync], since=0)
        for batch in deliver(own):
            scene.hear(*batch)
        operation_id = scene.press()
        others, since = said(scene.told, [word for sync in crossing for word in sync], since=since)
        named, since = said(scene.told, answers, since=since, operation_id=operation_id)
        own, _ = said(scene.told, [word for sync in after for word in sync], since=since)
        for batch in deliver([*others, *named, *own]):
            scene.hear(*batch)

    expected, found = in_order.outcome(), any_order.outcome()
    told, audited = expected.pop("audit"), found.pop("audit")
    assert found == expected
    if not crossing:
        assert not told - audited
    for scene in (in_order, any_order):
        scene.house.forget()


def _one_by_one(reports: list[Report]) -> list[list[Report]]:
    return [[report] for report in reports]
