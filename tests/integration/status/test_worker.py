"""The status worker as a process on RabbitMQ: floods, copies, two of them, a killed child and a stop in the middle."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tasks.consumer import MAX_BATCH_MESSAGES
from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, Service
from tests.factories import a_sync_message, a_verification_message
from tests.integration.status.conftest import Apply, Database, batches_that_wait, completions, held
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FLOOD = 3_000


@pytest.mark.alone
@pytest.mark.brokers
def test_a_lone_message_is_applied_at_once_and_a_flood_entirely(
    worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert worker.children
    lone, *flood = database_rows.connections(FLOOD + 1)
    worker_queue.send(*completions([lone]))
    eventually(lambda: database_rows.completed() == 1, within=2)

    worker_queue.flood(completions(flood))

    eventually(lambda: database_rows.completed() == FLOOD + 1, within=30)
    eventually(lambda: worker_queue.waiting() == 0)
    assert worker_queue.waiting(DEAD) == 0


def test_what_has_gathered_goes_in_whole_batches(
    processes: Processes, worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert worker.children
    processes.stop("worker")
    connections = database_rows.connections(FLOOD)
    worker_queue.flood(completions(connections))

    processes.start("worker")

    eventually(lambda: database_rows.completed() == FLOOD, within=30)
    sizes = [int(size) for size in re.findall(r'"messages": (\d+).*status_batch_applied', processes.log("worker"))]
    assert max(sizes) == MAX_BATCH_MESSAGES


@pytest.mark.brokers
def test_a_child_killed_in_the_middle_of_its_batch_loses_nothing(
    worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    connections = database_rows.connections(1_000)
    leader, *children = worker.children["worker"].family()
    assert children

    with held(database_rows, connections[0]["id"]):
        worker_queue.flood(completions(connections))
        eventually(lambda: batches_that_wait(database_rows))
        for child in children:
            child.kill()
    eventually(lambda: database_rows.completed() == len(connections), within=30)

    assert leader.is_running()
    assert worker_queue.waiting(DEAD) == 0
    assert database_rows("SELECT count(*) AS n FROM operations")[0]["n"] == len(connections)


def test_a_batch_that_no_child_takes_up_goes_to_another(
    processes: Processes, worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert worker
    connections = database_rows.connections(500)
    # One of its own, for what hangs here is left to hang.
    processes.stop("worker")
    processes.start("worker")
    _, hanging, *others = processes.children["worker"].family()
    assert others

    # All of them at first: which child a batch goes to is the pool's choice.
    for child in (hanging, *others):
        child.suspend()
    worker_queue.flood(completions(connections))
    eventually(lambda: "no child has taken up a batch" in processes.log("worker"), within=60)
    for child in others:
        child.resume()
    eventually(lambda: database_rows.completed() == len(connections), within=60)
    # Though one of its children takes nothing, not even that it is to end.
    processes.stop("worker", within=15)
    processes.start("worker")

    eventually(lambda: worker_queue.waiting() == 0)
    # What it has taken is not in that count, and must not meet the rows of the next test.
    processes.stop("worker")
    worker_queue.purge(worker_queue.queue)
    processes.start("worker")
    assert worker_queue.waiting(DEAD) == 0
    assert database_rows("SELECT count(*) AS n FROM operations")[0]["n"] == len(connections)


def test_it_takes_no_commands_and_a_job_is_refused_in_one_short_line(
    worker: Processes, worker_queue: Service, database_rows: Database, rabbitmq_url: str
) -> None:
    (connection,) = database_rows.connections(1)
    with Celery(broker=rabbitmq_url, set_as_current=False) as anybody:
        anybody.control.cancel_consumer(worker_queue.queue)
        anybody.control.shutdown()
        assert anybody.control.ping(timeout=1) == []

    worker_queue.send(*completions([connection]))

    eventually(lambda: database_rows.completed() == 1, within=30)
    assert worker.children["worker"].is_running


def test_a_worker_whose_consumer_the_broker_cancels_says_so_and_consumes_again(
    worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    (connection,) = database_rows.connections(1)
    eventually(lambda: worker_queue.consumers() == 1)
    before = worker.log("worker").count("consumer_lost")

    worker_queue.delete(worker_queue.queue)

    eventually(lambda: worker.log("worker").count("consumer_lost") > before, within=30)
    # The worker declares its queue itself.
    eventually(lambda: worker_queue.exists() and worker_queue.consumers() == 1, within=30)
    worker_queue.send(*completions([connection]))
    eventually(lambda: database_rows.completed() == 1, within=30)


@pytest.mark.brokers
def test_a_stop_in_the_middle_of_a_flood_loses_nothing(
    processes: Processes, worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    connections = database_rows.connections(FLOOD)
    leader, *children = worker.children["worker"].family()
    # One for each child and all through the flood: while a child is free, it may reach the end before the stop comes.
    obstacles = [connection["id"] for connection in connections[:: FLOOD // len(children)]]
    with held(database_rows, *obstacles):
        worker_queue.flood(completions(connections))
        eventually(lambda: batches_that_wait(database_rows) == len(children))
        leader.terminate()
        eventually(lambda: "Warm shutdown" in worker.log("worker"))
        assert [line for line in worker.log("worker").splitlines() if not line.startswith("{")] == []
    eventually(lambda: not worker.children["worker"].is_running, within=30)

    applied, queued = database_rows.completed(), worker_queue.waiting()
    assert 0 < applied < FLOOD, "the stop came in the middle"
    # A child that had to be ended may have applied a batch and not said so: that comes again, and counts as late.
    copies = applied + queued - FLOOD
    assert copies == 0 or (copies > 0 and "pool_children_ended" in worker.log("worker"))
    processes.start("worker")
    eventually(lambda: worker_queue.waiting() == 0 and database_rows.completed() == FLOOD, within=30)
    assert database_rows("SELECT count(*) AS n FROM operations") == [{"n": FLOOD}]
    assert database_rows.completed() == FLOOD


def handled(worker: Processes) -> int:
    """Return how many messages the workers say they have applied."""
    return sum(map(int, re.findall(r'"messages": (\d+).*status_batch_applied', worker.all_logs())))


def a_history(connection: Mapping[str, str], chance: random.Random) -> list[dict[str, Any]]:
    """Return what a service reports of a connection over a day, ending with the end of a sync."""
    messages = []
    for number in range(chance.randint(3, 6)):
        began = T0 + timedelta(hours=number)
        end = chance.choice(["sync_completed", "sync_failed"])
        error = f"fault {number}" if end == "sync_failed" else None
        messages += [
            a_sync_message(connection, "sync_started", timestamp=began.isoformat()),
            a_sync_message(connection, end, timestamp=(began + timedelta(minutes=5)).isoformat(), error_message=error),
        ]
    return messages


# What a connection shows of its syncs; the moments are our own clock's, and differ.
SHOWN = ("status", "last_sync_status", "last_sync_error", "sync_reported_at", "sync_reported_rank")


@pytest.mark.brokers
def test_copies_and_reorderings_over_two_workers_end_in_the_state_of_the_same_messages_in_order(
    processes: Processes, worker: Processes, worker_queue: Service, database_rows: Database, apply: Apply
) -> None:
    assert worker
    chance = random.Random(7)  # noqa: S311 - to be the same every time
    connections, twins = database_rows.connections(20), database_rows.connections(20)
    histories = [a_history(connection, chance) for connection in connections]
    for twin, history in zip(twins, histories, strict=True):
        address = {"connection_id": twin["id"], "tenant_id": twin["organization_id"]}
        for message in history:
            assert apply(message | address) == []
    messages = [message for history in histories for message in history]
    shuffled = [*messages, *chance.choices(messages, k=FLOOD - len(messages))]
    chance.shuffle(shuffled)

    processes.start("worker", as_name="second_worker")
    before = handled(worker)
    worker_queue.flood(shuffled)
    eventually(lambda: handled(worker) - before == FLOOD, within=30)
    shares = [worker.log(name).count("status_batch_applied") for name in ("worker", "second_worker")]
    processes.stop("second_worker")

    assert all(shares), "both took part"
    assert (worker_queue.waiting(), worker_queue.waiting(DEAD)) == (0, 0)
    for connection, twin in zip(connections, twins, strict=True):
        ours, expected = database_rows.row(connection["id"]), database_rows.row(twin["id"])
        assert [ours[name] for name in SHOWN] == [expected[name] for name in SHOWN]
        assert all(operation["finished_at"] for operation in database_rows.operations(connection["id"]))


def test_copies_of_answers_that_name_their_operation_end_each_operation_once(
    worker: Processes, worker_queue: Service, database_rows: Database
) -> None:
    assert worker
    connections = database_rows.connections(200)
    asked = [row["id"] for row in database_rows(OPEN_VERIFICATIONS)]
    assert len(asked) == len(connections)
    addressed = {str(row["connection_id"]): str(row["id"]) for row in database_rows("SELECT * FROM operations")}
    answers = [
        a_verification_message(connection, operation_id=addressed[connection["id"]], options={"spaces": "ENG"})
        for connection in connections
    ]

    before = handled(worker)

    worker_queue.flood(answers * 5)

    eventually(lambda: handled(worker) - before == 5 * len(answers), within=20)
    states = "SELECT state, count(*) AS n FROM operations GROUP BY state"
    assert database_rows(states) == [{"state": "succeeded", "n": len(answers)}]
    audited = database_rows("SELECT count(*) AS n FROM audit_logs WHERE action = 'verify.succeeded'")
    assert audited == [{"n": len(answers)}]
    idle = database_rows("SELECT DISTINCT status, latest_options FROM data_source_connections")
    assert idle == [{"status": "idle", "latest_options": {"spaces": "ENG"}}]


OPEN_VERIFICATIONS = """
INSERT INTO operations (id, organization_id, connection_id, kind, origin, state, attempts, created_at)
SELECT gen_random_uuid(), organization_id, id, 'verify', 'user', 'delivered', 1, now() FROM data_source_connections
RETURNING id
"""
