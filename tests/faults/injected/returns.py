"""What gives messages back to the broker again and again: none is lost, on quorum queues that count it neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetterQueue
from tests.e2e.service import DEAD, STATUS, Service, channel
from tests.factories import a_sync_message, a_verification_message
from tests.faults.ledger import Evidence, Expect
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Sending, a_message, a_sync

# RabbitMQ 4 deletes a quorum queue's message at its 21st return.
TOO_OFTEN = 25
LOOKS = 1_000
# Longer than what is held is held (see world.SETTINGS), and than so many tries take.
AWAY = 20.0
SYNCS, CONNECTIONS = 1_500, 60
ALARM = 20.0


@fault("PostgreSQL is away for 20 s and tried in vain more than 25 times, with 50 messages waiting")
def database_away_for_long(scene: Scene) -> None:
    connections = scene.bystander().connections
    before = _held(scene)
    scene.world.postgres.stop()
    for number in range(50):
        scene.service.send(*a_sync(connections[number % len(connections)], 5_000_000 + number))
    pause(AWAY)
    tries = _held(scene) - before
    scene.world.postgres.start()
    scene.remark = f", after {tries} tries"

    def facts(_: Evidence) -> Iterator[str]:
        if tries < TOO_OFTEN:
            yield f"it was tried {tries} times only"

    scene.check(facts)


def _held(scene: Scene) -> int:
    return scene.world.processes.log("worker").count("status_batch_held")


@fault("PostgreSQL is away for 2 s while answers come that only their order tells apart")
def database_away_in_between(scene: Scene) -> None:
    connections = [connection for _ in range(5) for connection in scene.bystander().connections]
    scene.world.postgres.stop()
    for error in ("Old", None):
        for connection in connections:
            said: dict[str, Any] = {"error": error} if error else {"options": {"spaces": "NEW"}}
            message = a_verification_message(connection, "failed" if error else "success", **said)
            scene.service.send(Sending(json.dumps(message).encode(), Expect.NOTHING))
    pause(2)
    scene.world.postgres.start()

    def facts(seen: Evidence) -> Iterator[str]:
        rows = {str(row["id"]): row for row in seen.connections}
        wrong = [each for each in connections if rows[each["id"]]["last_verification_error"] is not None]
        if wrong:
            yield f"of {len(connections)} connections {len(wrong)} show the older of two verifications"

    scene.check(facts)


@fault(f"the status worker is killed {TOO_OFTEN} times with messages that it cannot apply")
def status_worker_killed_often(scene: Scene) -> None:
    member = scene.bystander()
    connection = member.connections[0]
    with closing(psycopg2.connect(scene.world.superuser_url)) as session, session.cursor() as cursor:
        cursor.execute("SELECT FROM data_source_connections WHERE id = %s FOR UPDATE", [connection["id"]])
        for number in range(25):
            scene.service.send(*a_sync(connection, 6_000_000 + number))
        for _ in range(TOO_OFTEN):
            ready = scene.world.processes.log("worker").count(" ready.")
            scene.eventually(scene.waits_for_lock, within=20)
            scene.world.kill("worker")
            scene.eventually(lambda seen=ready: scene.world.processes.log("worker").count(" ready.") > seen, within=60)
        session.rollback()


@fault(f"an operator looks at the dead letters {LOOKS:,} times")
def dead_letters_looked_at(scene: Scene) -> None:
    """The judge looks for each letter at the end."""
    bodies = [f"no JSON, {number}".encode() for number in range(10)]
    scene.service.send(*[Sending(body, Expect.DEAD_LETTER) for body in bodies])
    scene.eventually(lambda: scene.world.queues.waiting(DEAD) == len(bodies))
    with open_confirmed_connection(scene.world.rabbitmq.url) as connection:
        queue = DeadLetterQueue(connection)
        orders = [[letter.body for letter in queue.list_oldest(limit=100)] for _ in range(LOOKS)]

    def facts(_: Evidence) -> Iterator[str]:
        if any(order != orders[0] for order in orders) or len(orders[0]) != len(bodies):
            yield "looking changed what there was to see"

    scene.check(facts)


@fault(f"{SYNCS:,} syncs of the service's own without ids, in order, over {CONNECTIONS} connections")
def syncs_in_order(scene: Scene) -> None:
    """None of them may overtake another one: whoever does makes those before it late."""
    connections = [connection for _ in range(CONNECTIONS // 4) for connection in scene.bystander().connections][
        :CONNECTIONS
    ]
    now = datetime.now(UTC)
    for number in range(SYNCS):
        connection, marker = connections[number % len(connections)], 7_000_000 + number
        for step, status in enumerate(("sync_started", "sync_started", "sync_completed")):
            at = (now + timedelta(milliseconds=10 * number + step)).isoformat()
            message = a_sync_message(connection, status, timestamp=at, documents_processed=marker)
            scene.service.send(a_message(message, "started" if step < 2 else "succeeded", marker=str(marker)))
    scene.eventually(lambda: scene.service.unsent == 0 and scene.world.status_messages() == 0, within=90)
    ids = {connection["id"] for connection in connections}

    def facts(seen: Evidence) -> Iterator[str]:
        shown = {
            row["documents_processed"]
            for row in seen.operations
            if str(row["connection_id"]) in ids and row["state"] == "succeeded"
        }
        if len(shown) != SYNCS:
            yield f"of {SYNCS} syncs {len(shown)} are in the history"

    scene.check(facts)


@fault("one of the worker's queues is somebody else's alone, and then is not")
def queue_refused(scene: Scene) -> None:
    other = Service(scene.world.rabbitmq.url, queue="data_source.elsewhere")
    scene.world.restart("worker", STATUS_QUEUES=f"{STATUS},{other.queue}")
    with channel(other.url) as opened:
        opened.queue_delete(other.queue)
        opened.queue_declare(other.queue, durable=True, exclusive=True, auto_delete=False)
        scene.world.kill("worker")
        refused = scene.eventually(lambda: "broker_refuses" in scene.world.processes.log("worker"), within=30)
        pause(5)
        open_files = [process.num_fds() for process in scene.world.family("worker")[:1]]
        pause(5)
        later = [process.num_fds() for process in scene.world.family("worker")[:1]]
    scene.eventually(lambda: other.exists() and other.consumers(), within=40)
    scene.world.restart("worker", STATUS_QUEUES=STATUS)
    other.delete(other.queue)

    def facts(_: Evidence) -> Iterator[str]:
        if not refused:
            yield "the worker was never refused"
        if sum(later) > sum(open_files) + 2:
            yield f"a refused worker has {later} files open, after {open_files}"

    scene.check(facts)


@fault(f"a memory alarm of {ALARM:.0f} s, with messages that nobody can apply")
def broker_in_alarm(scene: Scene) -> None:
    """Nobody may publish meanwhile; each such message becomes one dead letter all the same."""
    bodies = [f"no JSON during the alarm, {number}".encode() for number in range(20)]
    scene.service.send(*[Sending(body, Expect.DEAD_LETTER) for body in bodies[:10]])
    scene.eventually(lambda: scene.service.unsent == 0)
    scene.service.send(*[Sending(body, Expect.DEAD_LETTER) for body in bodies[10:]])
    scene.world.rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1")
    pause(ALARM)
    scene.world.rabbitmq.control("set_vm_memory_high_watermark", "0.4")

    def facts(seen: Evidence) -> Iterator[str]:
        copies = len(seen.dead_letters) - len(set(seen.dead_letters))
        if copies:
            yield f"{copies} dead letters came twice"

    scene.check(facts)
