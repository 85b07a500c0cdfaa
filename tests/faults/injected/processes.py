"""Processes that end without a word, and what they had in hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2

from tests.e2e.processes import answers
from tests.faults.ledger import Evidence
from tests.faults.load import Member
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Door, a_sync
from tests.receiver import Received, answer

# Longer than anything that is held is meant to be.
LONGEST_HOLD = 10.0
# Enough that several batches are under way when a process of the status worker is killed.
CROWD = 3_000


@fault("nothing: the load alone")
def nothing(_: Scene) -> None:
    pause(2)


@fault("web is killed between commit and enqueue", quick=True)
def web_killed_before_enqueue(scene: Scene) -> None:
    """A new process has no connection to the broker yet, and waits for one after the commit: it is killed there."""
    member = scene.bystander()
    proxy = scene.world.brokers["web"]
    proxy.freeze()
    scene.world.kill("web")
    scene.eventually(lambda: answers(f"{scene.world.base_url}/healthz"))
    pressing = threading.Thread(target=scene.load.press, args=(member, member.connections[-1], "verify"))
    pressing.start()
    row = scene.eventually(lambda: scene.newest(member))
    scene.world.kill("web")
    pressing.join()
    proxy.cut()
    proxy.thaw()

    def facts(seen: Evidence) -> Iterator[str]:
        if row is None or row["attempts"]:
            yield "the operation was not caught between its commit and its job"
            return
        (after,) = [found for found in seen.operations if found["id"] == row["id"]]
        if any(press.operation_id == str(row["id"]) for press in seen.presses):
            yield "the press was answered"
        if after["state"] != "succeeded":
            yield f"the operation without a job is {after['state']}"

    scene.check(facts)


class _Held:
    """Holds one member's webhooks at the external service's door."""

    def __init__(self, scene: Scene, member: Member) -> None:
        self.arrived = threading.Event()
        self.released = threading.Event()
        self._member = member
        scene.service.door = self._door

    def _door(self, webhook: Received) -> Door:
        if webhook.json["tenant_id"] != self._member.id or self.released.is_set():
            return Door()
        return Door(behave=self._hold)

    def _hold(self, handler: BaseHTTPRequestHandler) -> None:
        self.arrived.set()
        self.released.wait(LONGEST_HOLD)
        answer(200)(handler)


@fault("the webhook worker is killed before its POST arrives")
def webhook_worker_killed_before_post(scene: Scene) -> None:
    member = scene.bystander()
    scene.world.door.freeze()
    press = scene.load.press(member, member.connections[-1], "sync")
    claimed = scene.eventually(lambda: scene.operation(press.operation_id)["attempts"])
    scene.world.kill("webhook_worker")
    scene.world.door.cut()
    scene.world.door.thaw()

    def facts(seen: Evidence) -> Iterator[str]:
        (after,) = [row for row in seen.operations if str(row["id"]) == press.operation_id]
        if not claimed or after["attempts"] != 2 or after["state"] != "succeeded":
            yield f"after a claim that died, the operation is {after['state']} at attempt {after['attempts']}"

    scene.check(facts)


@fault("the webhook worker is killed during its POST", quick=True)
def webhook_worker_killed_during_post(scene: Scene) -> None:
    member = scene.bystander()
    held = _Held(scene, member)
    press = scene.load.press(member, member.connections[-1], "verify")
    arrived = held.arrived.wait(LONGEST_HOLD)
    scene.world.kill("webhook_worker")
    held.released.set()
    scene.check(_answered(press.operation_id, "its POST was held", arrived))


@fault("the webhook worker is killed after its POST, before it records the answer")
def webhook_worker_killed_after_post(scene: Scene) -> None:
    """The record waits for the connection's row, which is locked: the worker is killed there."""
    member = scene.bystander()
    held = _Held(scene, member)
    press = scene.load.press(member, member.connections[-1], "sync")
    held.arrived.wait(LONGEST_HOLD)
    with closing(psycopg2.connect(scene.world.superuser_url)) as session, session.cursor() as cursor:
        cursor.execute("SELECT FROM data_source_connections WHERE id = %s FOR UPDATE", [press.connection_id])
        held.released.set()
        waits = scene.eventually(scene.waits_for_lock, within=5)
        scene.world.kill("webhook_worker")
    scene.check(_answered(press.operation_id, "the record waited for the row", waits))


def _answered(operation_id: str | None, what: str, came: Any) -> Any:
    def facts(seen: Evidence) -> Iterator[str]:
        if not came:
            yield f"it was never so that {what}"
        states = [row["state"] for row in seen.operations if str(row["id"]) == operation_id]
        if states != ["succeeded"]:
            yield f"the operation that lost its worker is {states}"

    return facts


@fault("a child of the status worker is killed mid-batch", quick=True)
def status_child_killed(scene: Scene) -> None:
    _crowd(scene)
    for _ in range(3):
        scene.eventually(lambda: len(scene.world.family("worker")) > 1)
        for child in scene.world.family("worker")[-1:]:
            # The pool may have replaced it meanwhile.
            with suppress(psutil.NoSuchProcess):
                child.kill()
        pause(0.5)


@fault("the whole status worker is killed mid-batch")
def status_worker_killed(scene: Scene) -> None:
    _crowd(scene)
    for _ in range(2):
        scene.world.kill("worker")
        scene.eventually(lambda: scene.world.processes.children["worker"].is_running)
        pause(4)


def _crowd(scene: Scene) -> None:
    """Put many syncs of the service's own into the queue, each of which leaves an operation behind."""
    connections = [connection for _ in range(4) for connection in scene.bystander().connections]
    for number in range(CROWD // 2):
        scene.service.send(*a_sync(connections[number % len(connections)], 2_000_000 + number))
    scene.eventually(lambda: scene.world.status_messages() > CROWD // 10, within=5)


@fault("beat is killed while the web's jobs are lost")
def beat_killed(scene: Scene) -> None:
    """Only the dispatcher, which beat drives, delivers what the web could not tell the broker of."""
    proxy = scene.world.brokers["web"]
    proxy.refuse()
    proxy.cut()
    for _ in range(3):
        scene.world.kill("beat")
        pause(2)
    proxy.listen()
