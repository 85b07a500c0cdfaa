"""What the external service may do to its own messages, and what anybody else may put into the queue."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.factories import a_sync_message, a_verification_message
from tests.faults.ledger import Evidence, Expect
from tests.faults.load import Member
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Sending, a_message, a_sync, honest
from tests.faults.world import SETTINGS

LASTS = 4.0
HOUR = timedelta(hours=1)
SHORT_DEADLINE = "2"
AFTER_THE_DEADLINE = 5.0
LARGE = 10 * 1024 * 1024
DEEP = 100_000


def _reply(scene: Scene, reply: Any, *, lasts: float = LASTS) -> None:
    """Answer so for a while."""
    scene.service.reply = reply
    pause(lasts)
    scene.service.reply = honest


@fault("every message comes three times")
def messages_duplicated(scene: Scene) -> None:
    def thrice(webhook: Mapping[str, Any]) -> list[Sending]:
        replies = honest(webhook)
        again = [
            replace(reply, after=reply.after + late, expect=Expect.NOTHING) for reply in replies for late in (0, 1)
        ]
        return replies + again

    _reply(scene, thrice)


@fault("messages come in the wrong order")
def messages_reordered(scene: Scene) -> None:
    def shuffled(webhook: Mapping[str, Any]) -> list[Sending]:
        *earlier, last = honest(webhook)
        return [*[replace(reply, after=random.uniform(0.1, 0.5)) for reply in earlier], replace(last, after=0)]

    _reply(scene, shuffled)


@fault("messages come after the deadline")
def messages_late(scene: Scene) -> None:
    """An operation that has expired is then repaired: what happened is the truth, however late it is told."""
    names = ("VERIFY_DEADLINE_SECONDS", "SYNC_START_DEADLINE_SECONDS")
    scene.world.restart("web", "webhook_worker", **dict.fromkeys(names, SHORT_DEADLINE))
    _reply(
        scene,
        lambda webhook: [replace(reply, after=reply.after + AFTER_THE_DEADLINE) for reply in honest(webhook)],
        lasts=AFTER_THE_DEADLINE * 2,
    )
    scene.world.restart("web", "webhook_worker", **{name: SETTINGS[name] for name in names})

    def facts(seen: Evidence) -> Iterator[str]:
        repaired = [row for row in seen.operations if row["reported_late"] and row["state"] == "succeeded"]
        if {row["kind"] for row in repaired} != {"verify", "sync"}:
            yield f"{len(repaired)} expired operations were repaired, not some of each kind"

    scene.check(facts)


@fault("the service's clock is an hour off, in either direction")
def clocks_off(scene: Scene) -> None:
    numbers = iter(range(3_000_000, 4_000_000))
    for clock in (HOUR, -HOUR):
        connection = scene.bystander().connections[0]
        for _ in range(5):
            scene.service.send(*a_sync(connection, next(numbers), clock=clock))
            pause(0.2)
    _reply(scene, lambda webhook: honest(webhook, clock=random.choice((HOUR, -HOUR))))


@fault("messages that nobody can apply: truncated, 10 MB large, deeply nested, posing as tasks", quick=True)
def messages_hostile(scene: Scene) -> None:
    member = scene.bystander()
    before = scene.world.rows("SELECT count(*) AS count FROM audit_logs WHERE organization_id = %s", member.id)
    for body, headers in _hostile(member):
        scene.service.send(Sending(body, Expect.DEAD_LETTER, headers=headers))
    scene.eventually(lambda: scene.service.unsent == 0)
    pause(1)
    after = scene.world.rows("SELECT count(*) AS count FROM audit_logs WHERE organization_id = %s", member.id)

    def facts(_: Evidence) -> Iterator[str]:
        if before != after:
            yield f"hostile messages left {after} audit rows instead of {before}"

    scene.check(facts)


def _hostile(member: Member) -> Iterator[tuple[bytes, dict[str, Any]]]:
    honest_one = a_sync_message(member.connections[0], "sync_completed")
    text = json.dumps(honest_one)
    yield text[: len(text) // 2].encode(), {}
    yield json.dumps(honest_one | {"padding": "x" * LARGE}).encode(), {}
    yield b"[" * DEEP + b"]" * DEEP, {}
    yield (json.dumps(honest_one)[:-1] + ', "x": ' + "[" * DEEP + "]" * DEEP + "}").encode(), {}
    yield text.encode() + b"\xff\xfe", {}
    argument = [["data_source_status", text]]
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    for name in ("status.apply_messages", "webhooks.deliver", "housekeeping.purge", "celery.backend_cleanup"):
        yield json.dumps({"task": name, "id": str(uuid4()), "args": [argument], "kwargs": {}}).encode(), {}
        headers = {"lang": "py", "task": name, "id": str(uuid4()), "root_id": str(uuid4()), "retries": 0}
        yield json.dumps([[argument], {}, embed]).encode(), headers | {"compression": "application/x-gzip"}
    yield b'{"type": "sync", "status": "sync_failed", "error_message": "\\ud800"}', {}
    yield json.dumps(honest_one | {"operation_id": str(uuid4())}).encode(), {}
    yield json.dumps(honest_one | {"tenant_id": str(uuid4())}).encode(), {}


@fault("strings that PostgreSQL refuses: NUL bytes, halves of surrogate pairs")
def messages_unstorable(scene: Scene) -> None:
    """NUL and half a pair, which is not Unicode, are replaced, so that the answer counts."""
    member = scene.bystander()
    sync, verify, spoiled = member.connections[:3]
    failure = a_sync_message(sync, "sync_failed", error_message="no\x00thing", documents_processed=7)
    success = a_verification_message(verify, options={"sp\x00aces": "A\x00B"})
    half = json.dumps(a_sync_message(spoiled, "sync_failed", error_message="HALF")).replace("HALF", "\\ud800")
    half_key = json.dumps(a_verification_message(spoiled, options={"HALF": "x"})).replace("HALF", "\\udfff")
    scene.service.send(
        a_message(failure, "failed", marker="7"),
        Sending(json.dumps(success).encode(), Expect.NOTHING),
        Sending(half.encode(), Expect.NOTHING),
        Sending(half_key.encode(), Expect.NOTHING),
    )
    scene.eventually(lambda: scene.service.unsent == 0)

    def facts(seen: Evidence) -> Iterator[str]:
        rows = {str(row["id"]): row for row in seen.connections}
        for connection, column, wanted in (
            (sync, "last_sync_error", "no\ufffdthing"),
            (verify, "latest_options", {"sp\ufffdaces": "A\ufffdB"}),
            (spoiled, "last_sync_error", "\ufffd"),
            (spoiled, "latest_options", {"\ufffd": "x"}),
        ):
            if (found := rows[connection["id"]][column]) != wanted:
                yield f"{column} became {found!r} instead of {wanted!r}"

    scene.check(facts)
