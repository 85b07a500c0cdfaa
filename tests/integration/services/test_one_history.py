"""The same rows whatever the order, the copies and the batches: the domain's rule with what PostgreSQL recalls."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
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
from tests.factories import a_sync_message, apply_messages
from tests.integration.services.machine.house import House
from tests.unit.domain.test_dated_reports import Word, said, shuffled, syncs
from tests.unit.domain.test_sync_order import IN_ORDER, LATE_END_OF_OURS, told
from tests.waiting import eventually

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
        pressed = self.house.press("sync", self.connection_id, replace_running=True)
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


def test_a_batch_that_began_first_and_is_applied_last_stands_last(web: Flask, postgres: Postgres) -> None:
    scene = Scene(web, postgres)
    other_id = scene.house.configure_type("confluence", {})
    # Rows are locked in the order of their ids, so that whoever waits for the first has not yet locked the second.
    first, second = ({**scene.told, "id": id_} for id_ in sorted([scene.connection_id, other_id]))
    scene.house.look()
    began = datetime.now(UTC)
    earlier, later = (
        [
            a_sync_message(second, status, documents_processed=number, timestamp=(began + after).isoformat())
            for status, after in (("sync_started", timedelta(0)), ("sync_completed", timedelta(seconds=1)))
        ]
        for number, began in enumerate((began, began + timedelta(minutes=1)))
    )

    with ThreadPoolExecutor() as pool:
        with _locked(web, first["id"]):
            waiting = pool.submit(apply_messages, web, a_sync_message(first, "sync_started"), *later)
            eventually(lambda: _is_somebody_waiting(postgres))
            apply_messages(web, *earlier)
        assert waiting.result().refusals == {}

    written = scene.house.look()
    of_second = [row for row in written.operations if str(row["connection_id"]) == second["id"]]
    assert [row["documents_processed"] for row in of_second] == [0, 1]
    audited = [row["action"] for row in written.audited if str(row["connection_id"]) == second["id"]]
    assert audited == ["sync.started", "sync.succeeded"] * 2
    assert [row["created_at"] for row in of_second] == sorted(row["created_at"] for row in of_second)
    scene.house.forget()


@contextmanager
def _locked(web: Flask, connection_id: str) -> Iterator[None]:
    with closing(psycopg2.connect(web.extensions["settings"].owner_database_url)) as holder:
        with holder.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', false)")
            cursor.execute("SELECT FROM data_source_connections WHERE id = %s FOR UPDATE", [connection_id])
            assert cursor.rowcount == 1
        yield
        holder.rollback()


def _is_somebody_waiting(postgres: Postgres) -> bool:
    with postgres.cursor() as cursor:
        # Who waits for what is shown to everybody there.
        cursor.execute(
            "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
        )
        return cursor.fetchone() is not None


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
