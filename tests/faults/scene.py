"""One fault from the first press to the verdict: load, inject, recover, settle, copy everything, judge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from redis import Redis

from devstack.child import StartError, wait_until
from tasks.consumer import BATCH_CHECK_INTERVAL_SECONDS, BATCH_START_TIMEOUT_SECONDS
from tests.faults.judge import OPEN, Verdict, judge, lost_messages
from tests.faults.ledger import Evidence, Expect, Row
from tests.faults.load import Load, Member
from tests.faults.service import ExternalService, Sending
from tests.faults.world import World
from tests.waiting import eventually

# Before the fault, and after it, so that it meets a load and is followed by one.
BEFORE, AFTER = 1.0, 1.0
# How long recovery is watched; what takes longer is a failure anyway.
WATCHED = 75.0
# For one probe from its press to the page.
PROBE = 6.0
# For deadlines to pass, with a claim behind the last one and a sweep: see world.SETTINGS.
SETTLED = 75.0
# A POST's total limit and its record: see world.SETTINGS.
LONGEST_POST = 5.0
# Until messages that lie in a worker come again, over a new connection.
GIVEN_BACK = BATCH_START_TIMEOUT_SECONDS + BATCH_CHECK_INTERVAL_SECONDS + 5.0
# Of the messages that were sent, so many come a second time at the end.
COPIES = 150
PAUSE = 0.1


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong; `quick` ones run in `make test` too."""

    name: str
    title: str
    inject: Callable[[Scene], None]
    quick: bool = False


FAULTS: dict[str, Fault] = {}


def fault(title: str, *, quick: bool = False) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Register a function that injects a fault and returns when the fault is over."""

    def register(inject: Callable[[Scene], None]) -> Callable[[Scene], None]:
        name = inject.__name__
        FAULTS[name] = Fault(name, title, inject, quick)
        return inject

    return register


def pause(seconds: float) -> None:
    """Let the fault last, and the load go on."""
    wait_until(lambda: False, within=_seconds(seconds))


class Scene:
    """What a fault may touch, and what it may say about its own facts."""

    def __init__(self, world: World, service: ExternalService, load: Load) -> None:
        self.world = world
        self.service = service
        self.load = load
        self.remark = ""
        self.checks: list[Callable[[Evidence], Iterator[str]]] = []

    @property
    def members(self) -> list[Member]:
        return self.load.members

    def redis(self) -> Redis:
        return Redis.from_url(self.world.valkey.url)

    def bystander(self) -> Member:
        """Return an organization that nobody presses for but the fault; it is judged like the others."""
        member = Member(self.world.base_url)
        self.load.members.append(member)
        return member

    def check(self, facts: Callable[[Evidence], Iterator[str]]) -> None:
        """Have the fault's own facts looked at when all is over; what is yielded is wrong."""
        self.checks.append(facts)

    def eventually(self, look: Callable[[], Any], *, within: float = 15.0) -> Any:
        """Return the first truthy value of `look`, or None, which the fault's checks will complain of."""
        try:
            return eventually(look, within=within)
        except AssertionError:
            return None

    def operation(self, operation_id: str | None) -> Row:
        (row,) = self.world.rows("SELECT * FROM operations WHERE id = %s", operation_id)
        return row

    def newest(self, member: Member) -> Row | None:
        """Return the operation that an organization asked for last."""
        query = "SELECT * FROM operations WHERE organization_id = %s ORDER BY id DESC LIMIT 1"
        return next(iter(self.world.rows(query, member.id)), None)

    def waits_for_lock(self) -> bool:
        """Tell whether a statement of the product's waits for somebody's lock."""
        return bool(self.world.rows("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def run(world: World, found: Fault) -> Verdict:
    """Run one fault."""
    world.receiver.reset()
    world.deaths.clear()
    world.forget_dead_letters()
    service = ExternalService(world.receiver, world.rabbitmq.url)
    service.start()
    with _closing(service, Load(world, service)) as load:
        scene = Scene(world, service, load)
        probe = Member(world.base_url)
        wrong: list[str] = []
        load.start()
        pause(BEFORE)
        try:
            found.inject(scene)
        except (AssertionError, StartError) as problem:
            wrong = [str(problem)]
        ended, ended_at = time.monotonic(), datetime.now(UTC)
        pause(AFTER)
        load.stop()
        recovered = _recover(scene, probe, before=ended_at)
        recovered_after = time.monotonic() - ended if recovered else None
        probe.close()
        _settle(scene)
        evidence = _collect_all(scene)
        evidence.recovered_after = recovered_after
        evidence.changed_by_copies = _copy(scene, evidence)
        evidence.wrong = wrong + [f"{line} ended by itself" for line in world.deaths]
        evidence.remark = scene.remark
        for facts in scene.checks:
            evidence.wrong += facts(evidence)
        verdict = judge(evidence)
        if verdict.problems:
            _heal(scene)
        return verdict


@contextmanager
def _closing(service: ExternalService, load: Load) -> Iterator[Load]:
    try:
        yield load
    finally:
        load.close()
        service.stop()


def _heal(scene: Scene) -> None:
    """See that what one fault left broken does not fail the next one, too."""
    for proxy in scene.world.brokers.values():
        proxy.cut()
    probe = Member(scene.world.base_url)
    wait_until(lambda: _probe(probe), within=_seconds(WATCHED))
    probe.close()


def _recover(scene: Scene, probe: Member, *, before: datetime) -> bool:
    """Wait until a press is delivered, answered and pushed, and all that was asked before the fault's end has ended."""
    deadline = time.monotonic() + WATCHED
    while time.monotonic() < deadline:
        if _probe(probe) and _backlog(scene, before=before) == 0:
            return True
        pause(PAUSE)
    return False


def _probe(probe: Member) -> bool:
    press = probe.press(probe.connections[-1], "sync")
    if not press.accepted:
        return False

    def pushed() -> bool:
        return any(
            event.data.get("operation_id") == press.operation_id and event.data["change"] == "sync.succeeded"
            for event in probe.page.events
        )

    return wait_until(pushed, within=_seconds(PROBE))


def _backlog(scene: Scene, *, before: datetime) -> int:
    """Count what waits: operations that nobody chose to leave unanswered, messages on both sides of the broker."""
    try:
        rows = scene.world.rows(
            "SELECT id FROM operations WHERE organization_id = ANY(%s::uuid[]) AND created_at <= %s"
            " AND finished_at IS NULL",
            scene.load.organization_ids,
            before,
        )
        waiting = scene.world.status_messages()
    except (psycopg2.Error, OSError):
        return 1
    awaited = [row for row in rows if str(row["id"]) not in scene.service.unanswered]
    return len(awaited) + waiting + scene.service.unsent


def _settle(scene: Scene) -> None:
    """Wait until nothing is open any more, or every deadline has passed; then for the pages and the last POSTs."""
    ours = "SELECT count(*) AS found FROM operations WHERE organization_id = ANY(%s::uuid[]) AND "

    def none(condition: str, *values: Any) -> bool:
        (counted,) = scene.world.rows(ours + condition, scene.load.organization_ids, *values)
        return bool(counted["found"] == 0)

    def quiet() -> bool:
        ended = none("state = ANY(%s)", sorted(OPEN))
        return ended and scene.service.unsent == 0 and scene.world.status_messages() == 0

    wait_until(quiet, within=_seconds(SETTLED))
    statuses = {str(row["id"]): row["status"] for row in _rows(scene, "data_source_connections")}
    wait_until(lambda: _shown(scene).items() <= statuses.items(), within=_seconds(PROBE))
    # An answer may overtake its POST, which is then logged later; that of a killed worker never is.
    wait_until(lambda: none("attempts > jsonb_array_length(attempt_log)"), within=_seconds(LONGEST_POST))


def _shown(scene: Scene) -> dict[str, str]:
    return {key: status for member in scene.members for key, status in member.page.shown.items()}


def _rows(scene: Scene, table: str) -> list[Row]:
    query = f"SELECT * FROM {table} WHERE organization_id = ANY(%s::uuid[]) ORDER BY id"  # noqa: S608 - names of our own
    return list(scene.world.rows(query, scene.load.organization_ids))


def _collect_all(scene: Scene) -> Evidence:
    """Copy everything, once what no child of the worker took up has come again."""
    wait_until(lambda: not list(lost_messages(_collect(scene))), within=_seconds(GIVEN_BACK))
    return _collect(scene)


def _collect(scene: Scene) -> Evidence:
    organizations = set(scene.load.organization_ids)
    return Evidence(
        presses=list(scene.load.presses),
        webhooks=[hook for hook in scene.world.receiver.received if hook.json["tenant_id"] in organizations],
        sent=[sent for sent in scene.service.sent if not sent.connection_id or _is_ours(scene, sent.connection_id)],
        dead_letters=scene.world.dead_letters(),
        operations=_rows(scene, "operations"),
        connections=_rows(scene, "data_source_connections"),
        audit=_rows(scene, "audit_logs"),
        events=[event for member in scene.members for event in member.page.events],
        shown=_shown(scene),
    )


def _is_ours(scene: Scene, connection_id: str) -> bool:
    return any(connection_id == row["id"] for member in scene.members for row in member.connections)


def _copy(scene: Scene, evidence: Evidence) -> list[str]:
    """Send honest messages a second time, and tell which rows are not what they were."""
    honest = [sent for sent in evidence.sent if sent.expect is Expect.EFFECT][-COPIES:]
    late = _late(scene)
    scene.service.send(*[Sending(sent.body, Expect.NOTHING) for sent in honest])
    taken = wait_until(lambda: _late(scene) >= late + len(honest), within=_seconds(PROBE))
    changed = [] if taken else ["copies were sent, and not each was counted as late"]
    for table in ("operations", "data_source_connections", "audit_logs"):
        name = {"operations": "operations", "data_source_connections": "connections", "audit_logs": "audit"}[table]
        before = {row["id"]: _text(row) for row in getattr(evidence, name)}
        after = {row["id"]: _text(row) for row in _rows(scene, table)}
        for key in sorted(before.keys() | after.keys(), key=str):
            differing = before.get(key, {}).items() ^ after.get(key, {}).items()
            if differing:
                names = ", ".join(sorted({name for name, _ in differing}))
                changed.append(f"{table} {key} was changed by a second copy: {names}")
    return changed


def _late(scene: Scene) -> int:
    """Return how many messages the workers say changed nothing."""
    lines = [line for line in scene.world.logs().splitlines() if '"status_batch_applied"' in line]
    return sum(json.loads(line)["late"] for line in lines)


def _text(row: Row) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
