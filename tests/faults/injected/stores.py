"""What happens to PostgreSQL and to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import psycopg2

from tests.faults.ledger import Evidence
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Door, Sending, honest
from tests.receiver import answer

OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rita-data-sources'"
LASTS = 5.0


@fault("PostgreSQL is restarted", quick=True)
def database_restarted(scene: Scene) -> None:
    scene.world.postgres.stop()
    pause(2)
    scene.world.postgres.start()


@fault("PostgreSQL is killed and started")
def database_killed(scene: Scene) -> None:
    scene.world.postgres.kill()
    scene.world.postgres.start()


@fault("all connections to PostgreSQL are terminated, ten times")
def database_connections_terminated(scene: Scene) -> None:
    for _ in range(10):
        scene.world.rows(OURS)
        pause(0.3)


@fault("PostgreSQL's connection limit is reached")
def database_full(scene: Scene) -> None:
    """Somebody else takes every connection that there is, those that were ours included."""
    with ExitStack() as taken:
        scene.world.rows(OURS)
        deadline = time.monotonic() + LASTS
        while time.monotonic() < deadline:
            try:
                taken.enter_context(closing(psycopg2.connect(scene.world.superuser_url)))
            except psycopg2.OperationalError:
                # Full. What is given back is taken, too.
                pause(0.05)


@fault("Redis is restarted, and an answer comes while it is away")
def redis_restarted(scene: Scene) -> None:
    """No event can tell of that answer, then or later: the page must learn of it as it reconnects."""
    member = scene.bystander()
    asked: list[Mapping[str, Any]] = []

    def reply(webhook: Mapping[str, Any]) -> list[Sending]:
        if webhook["tenant_id"] != member.id:
            return honest(webhook)
        asked.append(webhook)
        return []

    scene.service.reply = reply
    press = scene.load.press(member, member.connections[-1], "sync")
    scene.eventually(lambda: member.page.shown.get(press.connection_id) == "syncing" and asked)
    scene.world.valkey.stop()
    scene.service.reply = honest
    scene.service.unanswered.clear()
    scene.service.send(*[sending for webhook in asked for sending in honest(webhook)])
    ended = scene.eventually(lambda: scene.operation(press.operation_id)["state"] == "succeeded")
    pause(1)
    scene.world.valkey.start()

    def facts(_: Evidence) -> Iterator[str]:
        if not ended:
            yield "the answer was not applied while Redis was away"

    scene.check(facts)


@fault("Redis is emptied while verifications are under way", quick=True)
def redis_emptied(scene: Scene) -> None:
    """One verification is known to be between two attempts: its credentials are gone, and the person is told so."""
    member = scene.bystander()
    busy = Door(takes=False, behave=answer(503))
    scene.service.door = lambda webhook: busy if webhook.json["tenant_id"] == member.id else Door()
    press = scene.load.press(member, member.connections[-1], "verify")
    scene.eventually(lambda: scene.operation(press.operation_id)["last_status_code"] == 503)
    with scene.redis() as redis:
        redis.flushall()
    scene.eventually(lambda: scene.operation(press.operation_id)["finished_at"])
    scene.service.door = lambda _: Door()

    def facts(seen: Evidence) -> Iterator[str]:
        (after,) = [row for row in seen.connections if str(row["id"]) == press.connection_id]
        if "enter them again" not in (after["last_verification_error"] or ""):
            yield f"after its credentials are gone, the page says {after['last_verification_error']!r}"
        (ended,) = [row for row in seen.operations if str(row["id"]) == press.operation_id]
        if ended["state"] != "undelivered":
            yield f"without its credentials, the verification is {ended['state']}"
        in_vain = [entry for entry in ended["attempt_log"] if "enter them again" in (entry["error"] or "")]
        if len(in_vain) != 1:
            yield f"without its credentials, the verification was tried {len(in_vain)} times"

    scene.check(facts)
