from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from flask import Flask

from app.domain import ids
from app.domain.actors import SYSTEM
from app.domain.aggregate import Change, Operation
from app.domain.delivery_job import DeliveryJob
from app.domain.retry import AttemptOutcome, RetryVerdict
from app.extensions import Session
from app.services import deliveries, operations, retention, tables
from app.services.deliveries import DueOperations
from app.unit_of_work import unit_of_work
from tests.factories import PATIENCE, Browser, a_sync_message, apply_messages, in_parallel, rows

PATH = "/api/data-sources"
LEASE = timedelta(seconds=12)
WAITS = (timedelta(seconds=5), timedelta(seconds=30))
DONE = AttemptOutcome(RetryVerdict.DONE, status_code=202)
BUSY = AttemptOutcome(RetryVerdict.RETRY, status_code=503, error="The external service has an error (HTTP 503)")
REFUSED = AttemptOutcome(
    RetryVerdict.FINAL, status_code=401, error="The external service does not accept us (HTTP 401)"
)

Fact = TypeVar("Fact")


class House:
    """An organization whose web search was just asked to sync."""

    def __init__(self, app: Flask) -> None:
        self.app, self.ada = app, Browser(app)
        self.ada.put(f"{PATH}/websearch", {})
        self.path = f"{PATH}/{self.connection['id']}"
        self.id = UUID(self.press())
        self.now = datetime.now(UTC)

    def press(self) -> str:
        return str(self.ada.post(f"{self.path}/sync", {"force": True}).json["data"]["operation_id"])

    @property
    def connection(self) -> dict[str, Any]:
        return self.ada.connection("websearch")

    @property
    def delivery(self) -> DeliveryJob:
        return DeliveryJob(self.id, "sync", self.ada.organization_id)

    @property
    def row(self) -> dict[str, Any]:
        return rows(self.app, "SELECT * FROM operations WHERE id = :id", id=self.id)[0]

    @contextmanager
    def work(self) -> Iterator[Session]:
        with self.app.app_context(), unit_of_work(all_tenants=True) as work:
            yield work.session

    def act(self, what: Callable[..., Fact], *values: Any, **named: Any) -> Fact:
        with self.work() as session:
            return what(session, *values, **{"now": self.now} | named)

    def claim(self, **named: Any) -> deliveries.ClaimedOperation | None:
        return self.act(deliveries.claim_due_operations, [self.id], post_timeout=LEASE, **named).get(self.id)

    def record(
        self, operation: Operation, outcome: AttemptOutcome, **named: Any
    ) -> tuple[dict[UUID, Operation], list[Change]]:
        attempt = deliveries.AttemptResult(operation, outcome)
        return self.act(
            deliveries.record_attempt_results,
            [attempt],
            retry_schedule_for=lambda _: WAITS,
            deadlines=PATIENCE,
            **named,
        )

    def attempt(self, outcome: AttemptOutcome, *, at: datetime | None = None) -> dict[str, Any]:
        """Make one attempt, which ends so, and return the operation's row."""
        claim = self.claim(now=at or self.now)
        assert claim is not None
        self.record(claim.operation, outcome, now=at or self.now)
        return self.row


@pytest.fixture
def house(web: Flask) -> House:
    return House(web)


def test_a_claim_is_for_one(house: House) -> None:
    claims = in_parallel(6, lambda _: house.claim())

    (claim,) = [claim for claim in claims if claim is not None]
    assert (claim.operation.id, claim.operation.attempts, claim.connection_type) == (house.id, 1, "websearch")
    assert house.row["claimed_until"] > house.now + LEASE


def test_a_claim_that_was_never_recorded_is_free_again_after_its_time(house: House) -> None:
    house.claim()
    until = house.row["claimed_until"]

    assert house.claim(now=until - timedelta(seconds=1)) is None
    again = house.claim(now=until + timedelta(seconds=1))

    assert again is not None
    assert again.operation.attempts == 2


def test_what_is_not_due_past_its_deadline_or_unknown_is_not_claimed(house: House) -> None:
    assert house.claim(now=house.now - timedelta(minutes=1)) is None
    assert house.claim(now=house.row["deadline_at"]) is None
    assert house.act(deliveries.claim_due_operations, [uuid4()], post_timeout=LEASE) == {}


def test_an_attempt_that_arrives_makes_it_delivered_and_starts_the_next_wait(house: House) -> None:
    row = house.attempt(DONE)

    assert (row["state"], row["attempts"], row["last_status_code"]) == ("delivered", 1, 202)
    assert (row["next_attempt_at"], row["claimed_until"], row["queued_until"]) == (None, None, None)
    assert row["delivered_at"] == house.now
    assert row["deadline_at"] == house.now + PATIENCE.sync_start
    assert house.connection["status"] == "syncing"


def test_an_attempt_that_fails_is_made_again_after_each_wait_and_then_given_up(house: House) -> None:
    first = house.attempt(BUSY)
    second = house.attempt(BUSY, at=first["next_attempt_at"])
    third = house.attempt(BUSY, at=second["next_attempt_at"])

    assert WAITS[0] <= first["next_attempt_at"] - house.now <= WAITS[0] * 1.1
    assert WAITS[1] <= second["next_attempt_at"] - first["next_attempt_at"] <= WAITS[1] * 1.1
    assert [first["state"], second["state"], third["state"]] == ["pending", "pending", "undelivered"]
    assert [entry["status_code"] for entry in third["attempt_log"]] == [503] * 3
    assert [entry["attempt"] for entry in third["attempt_log"]] == [1, 2, 3]
    shown = house.connection
    assert (shown["status"], shown["last_sync_status"]) == ("idle", "failed")
    assert "HTTP 503" in shown["last_sync_error"]
    assert "3 attempts" in shown["last_sync_error"]
    assert datetime.fromisoformat(shown["last_sync_at"]) == second["next_attempt_at"]


def test_an_attempt_that_is_refused_is_not_made_again(house: House) -> None:
    row = house.attempt(REFUSED)

    assert (row["state"], row["finished_at"], row["next_attempt_at"]) == ("undelivered", house.now, None)
    assert "1 attempt" in house.connection["last_sync_error"]


def test_an_answer_that_overtakes_the_record_of_its_delivery_stays(house: House) -> None:
    claim = house.claim()
    assert claim is not None
    apply_messages(house.app, a_sync_message(house.connection, "sync_completed", operation_id=str(house.id)))

    house.record(claim.operation, BUSY)

    assert (house.row["state"], len(house.row["attempt_log"])) == ("succeeded", 1)
    assert (house.connection["status"], house.connection["last_sync_status"]) == ("idle", "completed")


def test_the_record_of_a_replaced_operation_leaves_the_new_one_alone(house: House) -> None:
    claim = house.claim()
    assert claim is not None
    second = house.press()

    house.record(claim.operation, REFUSED)

    assert house.row["state"] == "replaced"
    assert (house.connection["status"], house.connection["operation"]["id"]) == ("syncing", second)


def test_the_record_for_a_deleted_connection_finds_nothing(web: Flask) -> None:
    house = House(web)
    claim = house.claim()
    assert claim is not None
    with house.work() as session:
        session.execute(tables.CONNECTIONS.update().values(deleted_at=house.now))

    assert house.record(claim.operation, DONE) == ({}, [])


def test_what_is_due_is_taken_once_until_its_mark_ends(house: House) -> None:
    later = house.now + deliveries.REQUEST_JOB_LIFETIME

    assert house.act(deliveries.take_due_operations) == DueOperations()
    assert house.act(deliveries.take_due_operations, now=later) == DueOperations(job_overdue=[house.delivery])
    assert house.act(deliveries.take_due_operations, now=later) == DueOperations()
    assert house.act(deliveries.take_due_operations, now=later + deliveries.DISPATCHED_JOB_LIFETIME) == DueOperations(
        job_overdue=[house.delivery]
    )


def test_what_could_not_be_sent_is_due_again_at_once(house: House) -> None:
    later = house.now + deliveries.REQUEST_JOB_LIFETIME
    taken = house.act(deliveries.take_due_operations, now=later)

    with house.work() as session:
        deliveries.clear_job_marks(session, [house.id for _ in taken.job_overdue])

    assert house.act(deliveries.take_due_operations, now=later) == DueOperations(without_job=[house.delivery])


def test_two_dispatchers_share_the_work_and_do_not_wait_for_each_other(web: Flask) -> None:
    first, second = House(web), House(web)
    later = first.now + timedelta(minutes=1)

    with first.work() as session:
        taken = deliveries.take_due_operations(session, now=later)
        others = second.act(deliveries.take_due_operations, now=later)

    assert taken == DueOperations(job_overdue=[first.delivery, second.delivery])
    assert others == DueOperations()


def test_a_claimed_operation_is_not_dispatched(house: House) -> None:
    house.claim()

    assert house.act(deliveries.take_due_operations, now=house.now + timedelta(seconds=5)) == DueOperations()


def test_what_waits_too_long_expires_and_says_so(house: House) -> None:
    late = house.row["deadline_at"]
    assert house.act(operations.find_connections_with_overdue_operations, now=late - timedelta(seconds=1)) == []

    overdue = house.act(operations.find_connections_with_overdue_operations, now=late)
    changes = house.act(operations.expire_overdue_operations, overdue, now=late)

    assert overdue == [UUID(house.connection["id"])]
    assert [change.action for change in changes] == ["sync.expired"]
    assert house.row["state"] == "expired"
    shown = house.connection
    assert (shown["status"], shown["last_sync_status"]) == ("idle", "failed")
    # Nobody has tried: the external service knows nothing of it, and is not to blame.
    assert shown["last_sync_error"] == "Rita could not send the request in time; sync again"
    assert house.act(operations.expire_overdue_operations, overdue, now=late) == []


def test_what_a_worker_holds_right_now_does_not_expire_yet(house: House) -> None:
    late = house.row["deadline_at"]
    house.claim(now=late - timedelta(seconds=1))

    assert house.act(operations.expire_overdue_operations, [UUID(house.connection["id"])], now=late) == []

    assert house.row["state"] == "pending"


def test_history_is_purged_by_its_end_and_what_runs_stays(web: Flask) -> None:
    old, running = House(web), House(web)
    old.attempt(REFUSED)

    with old.work() as session:
        assert retention.purge_operations(session, before=old.now) == 0
        assert retention.purge_operations(session, before=old.now + timedelta(seconds=1)) == 1

    assert [row["id"] for row in rows(web, "SELECT id FROM operations")] == [running.id]


def test_the_trail_is_purged_by_its_age(house: House) -> None:
    count = len(rows(house.app, "SELECT id FROM audit_logs"))

    with house.work() as session:
        assert retention.purge_audit_rows(session, before=house.now - timedelta(minutes=1)) == 0
        assert retention.purge_audit_rows(session, before=house.now + timedelta(minutes=1)) == count

    assert rows(house.app, "SELECT id FROM audit_logs") == []


def test_a_press_that_waited_for_the_row_while_another_came_first_is_the_later_one(house: House) -> None:
    began_before_the_wait = house.now - timedelta(seconds=1)
    came_first = UUID(house.press())
    made = ids.new_id_at(began_before_the_wait)
    press = {
        "operation_id": made,
        "replace_running": True,
        "deadlines": PATIENCE,
        "actor": SYSTEM,
        "now": began_before_the_wait,
    }

    opened = house.act(operations.open_sync, UUID(house.connection["id"]), **press)

    assert opened.replaced_ids == [came_first]
    assert opened.operation.id > came_first


def test_verifications_are_dispatched_before_syncs_however_long_these_have_waited(web: Flask) -> None:
    houses = [House(web) for _ in range(3)]
    connection_id = houses[2].ada.seeded("confluence")
    sent = {"credentials": {"api_token": "t"}}
    verification = houses[2].ada.post(f"/api/data-sources/{connection_id}/verify", sent).json["operation_id"]

    due = houses[0].act(deliveries.take_due_operations, now=houses[0].now + timedelta(minutes=1))

    assert [str(delivery.operation_id) for delivery in due.job_overdue] == [
        verification,
        *[str(house.id) for house in houses],
    ]
    assert due.job_overdue[0] == DeliveryJob(UUID(verification), "verify", houses[2].ada.organization_id)
