"""What happens to RabbitMQ, and on the way to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.e2e.processes import answers
from tests.e2e.service import STATUS
from tests.factories import a_sync_message
from tests.faults.ledger import Evidence
from tests.faults.scene import GIVEN_BACK, Scene, fault, pause

FLOOD, AT_ONCE = 100_000, 5_000
# A second to connect, and once more; the rest is the press itself.
LONGEST_PRESS = 5.0
# On two cores, with everything else on them too.
FLOOD_DRAINED_WITHIN = 240.0


@fault("RabbitMQ is stopped and started")
def broker_restarted(scene: Scene) -> None:
    scene.world.rabbitmq.stop()
    pause(2)
    scene.world.rabbitmq.start()


@fault("RabbitMQ is killed and started")
def broker_killed(scene: Scene) -> None:
    scene.world.rabbitmq.kill()
    scene.world.rabbitmq.start()


@fault("all connections to RabbitMQ are cut, three times", quick=True)
def broker_connections_cut(scene: Scene) -> None:
    for _ in range(3):
        for proxy in scene.world.brokers.values():
            proxy.cut()
        pause(1.5)


@fault("RabbitMQ is frozen for 15 s")
def broker_frozen(scene: Scene) -> None:
    """A press does not wait for a broker that takes a connection and says nothing, as a new process finds it."""
    member = scene.bystander()
    for proxy in scene.world.brokers.values():
        proxy.freeze()
    scene.world.kill("web")
    scene.eventually(lambda: answers(f"{scene.world.base_url}/healthz"))
    began = time.monotonic()
    press = scene.load.press(member, member.connections[-1], "sync")
    took = time.monotonic() - began
    pause(15 - took)
    for proxy in scene.world.brokers.values():
        proxy.thaw()

    def facts(_: Evidence) -> Iterator[str]:
        if not press.accepted or took > LONGEST_PRESS:
            yield f"a press was answered {press.status} after {took:.1f} s"

    scene.check(facts)


@fault("half-open connections: closed for us, open for RabbitMQ")
def broker_half_open(scene: Scene) -> None:
    for proxy in scene.world.brokers.values():
        proxy.abandon("client")
    pause(2)


@fault("half-open connections: open for us, closed for RabbitMQ")
def broker_forgets_us(scene: Scene) -> None:
    for proxy in scene.world.brokers.values():
        proxy.abandon("server")
    pause(2)


@fault(f"the status queue is flooded with {FLOOD:,} messages")
def status_queue_flooded(scene: Scene) -> None:
    """Each message ends a sync of the service's own; the fault is over when the queue is empty again."""
    _flood(scene, FLOOD)


@fault("the status queue is flooded with 5,000 messages")
def status_queue_crowded(scene: Scene) -> None:
    _flood(scene, 5_000)


def _flood(scene: Scene, count: int) -> None:
    connections = [connection for _ in range(10) for connection in scene.bystander().connections]
    now = datetime.now(UTC)
    messages = [
        a_sync_message(
            connections[number % len(connections)],
            "sync_completed",
            documents_processed=number,
            timestamp=(now + timedelta(milliseconds=number)).isoformat(),
        )
        for number in range(count)
    ]
    began = time.monotonic()
    # In parts: whoever reads none of the broker's confirms for a while is cut off.
    for first in range(0, count, AT_ONCE):
        scene.world.queues.flood(messages[first : first + AT_ONCE])
    drained = scene.eventually(lambda: scene.world.queues.waiting(STATUS) == 0, within=FLOOD_DRAINED_WITHIN)
    # The worker has the last ones, and if it loses one of its children with them, they come a second time.
    ids = {connection["id"] for connection in connections}
    scene.eventually(lambda: _service_syncs(scene, ids) >= count, within=GIVEN_BACK)
    scene.remark = f", after {time.monotonic() - began:.0f} s of flood"

    def facts(seen: Evidence) -> Iterator[str]:
        if not drained:
            yield f"the queue was not empty within {FLOOD_DRAINED_WITHIN:.0f} s"
        rows = [row for row in seen.operations if str(row["connection_id"]) in ids]
        shown = {row["documents_processed"] for row in rows if row["origin"] == "service"}
        if missing := sorted(set(range(count)) - shown):
            refused = {json.dumps(messages[number]).encode() for number in missing}.intersection(seen.dead_letters)
            yield (
                f"of {count} messages {len(missing)} left no row, {len(refused)} of them are dead letters:"
                f" {missing[:5]} to {missing[-5:]}"
            )
        busy = [press for press in seen.presses if press.status not in (200, 409)]
        if busy:
            yield f"{len(busy)} presses during the flood were answered {sorted({str(p.status) for p in busy})}"

    scene.check(facts)


def _service_syncs(scene: Scene, connection_ids: set[str]) -> int:
    (counted,) = scene.world.rows(
        "SELECT count(*) AS found FROM operations WHERE origin = 'service' AND connection_id = ANY(%s::uuid[])",
        list(connection_ids),
    )
    return int(counted["found"])
