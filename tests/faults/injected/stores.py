"""What happens to PostgreSQL and to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg2

from tests.faults.ledger import Evidence
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Door
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


@fault("Redis is restarted")
def redis_restarted(scene: Scene) -> None:
    scene.world.valkey.stop()
    pause(3)
    scene.world.valkey.start()


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

    scene.check(facts)
