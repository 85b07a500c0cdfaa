"""`make soak`: run everything for an hour under a mixed load with two faults; print what came of it and what grew.

Fails if anything was lost, stuck or applied twice, if a process ended by itself, or if something needs ever more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from devstack import signal_handling
from tests.e2e.processes import answers
from tests.factories import a_sync_message
from tests.faults import injected, report
from tests.faults.ledger import Expect
from tests.faults.load import Member
from tests.faults.scene import FAULTS, Fault, Scene, run
from tests.faults.service import Sending, a_sync
from tests.faults.world import LINES, World, a_world
from tests.soak import growth

# In less, caches are still being filled: Flower has its ten thousand tasks after a quarter of an hour.
DEFAULT_MINUTES, MIN_MINUTES_TO_JUDGE = 60.0, 30.0
# Syncs of the service's own a second, each of two messages, beside what the members ask for; of so many, one message
# that nobody can apply.
SYNCS_PER_SECOND, SYNCS_PER_REFUSED = 30, 50
# Browsers that come, look around, listen for a while and go; seconds between two of them.
BROWSERS, BETWEEN_BROWSERS, MAX_LISTENING = 3, 0.5, 4.0
SAMPLES, MIN_BETWEEN_SAMPLES = 120, 2.0
REPORTS = 10
PROBLEMS_SHOWN = 10
# What happens after a third of the time, and after two.
FAULTS_BETWEEN = ("broker_connections_cut", "database_connections_terminated")


def main() -> int:
    """Run for as long as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=DEFAULT_MINUTES, help="how long; an hour by default")
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error("minutes are more than none")
    injected.load()
    signal_handling.interrupt_on_signals()
    with a_world() as world:
        world.processes.start("flower")
        soak = Soak(world, seconds=options.minutes * 60)
        found = Fault("soak", f"{options.minutes:g} minutes of a mixed load", soak.inject)
        verdict = run(world, found)
    print("\n" + report.table([(found, verdict)]))
    growths = list(growth.growths(soak.samples))
    print("\n" + growth.table(growths) if growths else "\nToo short to tell what grows.")
    for problem in verdict.problems[:PROBLEMS_SHOWN]:
        print(f"wrong: {problem}")
    growing = [f"{each.what} ({each.unit})" for each in growths if not each.is_bounded]
    if options.minutes < MIN_MINUTES_TO_JUDGE:
        print(f"Growth counts from {MIN_MINUTES_TO_JUDGE:.0f} minutes on.")
        growing = []
    if growing:
        print(f"needs ever more: {', '.join(growing)}")
    return int(bool(verdict.problems or growing))


class Soak:
    """The load beside that of the faults, what it counts, and the samples."""

    def __init__(self, world: World, *, seconds: float) -> None:
        self.samples: list[growth.Sample] = []
        self._world = world
        self._seconds = seconds
        self._over = threading.Event()
        self._streams = itertools.count()
        # Requests that fail while a fault lasts are what it is about.
        self._is_fault_on = threading.Event()
        self._failures: list[str] = []

    def inject(self, scene: Scene) -> None:
        """Load, take samples, and have the two faults happen."""
        members = [scene.bystander() for _ in range(BROWSERS)]
        began = time.monotonic()
        faults = [(self._seconds * (place + 1) / 3, name) for place, name in enumerate(FAULTS_BETWEEN)]
        reports = [self._seconds * (place + 1) / REPORTS for place in range(REPORTS)]
        with self._threads(lambda: self._sync_on(scene, members), *[lambda m=m: self._browse(m) for m in members]):
            while (at := time.monotonic() - began) < self._seconds:
                self.samples.append(growth.sample(self._world, (*LINES, "flower"), at=at))
                if reports and at >= reports[0]:
                    reports.pop(0)
                    self._report(scene, at)
                if faults and at >= faults[0][0]:
                    _, name = faults.pop(0)
                    print(f"{at / 60:6.1f} min: {FAULTS[name].title}", flush=True)
                    self._is_fault_on.set()
                    FAULTS[name].inject(scene)
                    scene.eventually(lambda: answers(f"{self._world.base_url}/readyz"))
                    self._is_fault_on.clear()
                self._over.wait(max(MIN_BETWEEN_SAMPLES, self._seconds / SAMPLES))
        scene.remark = f", after {len(scene.service.sent):,} messages, {next(self._streams):,} streams"
        scene.check(lambda _: iter(self._failures))

    @contextmanager
    def _threads(self, *functions: Callable[[], None]) -> Iterator[None]:
        with ExitStack() as stack:
            for function in functions:
                thread = threading.Thread(target=function, daemon=True)
                thread.start()
                stack.callback(thread.join, MAX_LISTENING + 30)
            stack.callback(self._over.set)
            yield

    def _sync_on(self, scene: Scene, members: list[Member]) -> None:
        connections = itertools.cycle([connection for member in members for connection in member.connections])
        due = time.monotonic()
        for number in itertools.count(10_000_000):
            due += 1 / SYNCS_PER_SECOND
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            scene.service.send(*a_sync(next(connections), number))
            if number % SYNCS_PER_REFUSED == 0:
                stranger = {"id": str(uuid4()), "organization_id": str(uuid4())}
                body = json.dumps(a_sync_message(stranger, "sync_completed")).encode()
                scene.service.send(Sending(body, Expect.DEAD_LETTER))

    def _browse(self, member: Member) -> None:
        """Come, look, listen and go, as people do."""
        while not self._over.wait(BETWEEN_BROWSERS):
            is_undisturbed = not self._is_fault_on.is_set()
            try:
                member.person.call("GET", "/api/data-sources")
                member.person.call("GET", f"/api/data-sources/{member.connections[0]['id']}/operations")
                with member.person.stream(ticket=member.person.ticket()):
                    next(self._streams)
                    self._over.wait(random.uniform(0, MAX_LISTENING))
            except (OSError, AssertionError) as problem:
                if is_undisturbed and not self._is_fault_on.is_set():
                    self._failures.append(f"a browser: {problem!r}")

    def _report(self, scene: Scene, at: float) -> None:
        memory = sum(
            value for (what, unit), value in self.samples[-1].values.items() if unit == "MiB" and what in LINES
        )
        counts = f"{len(scene.load.presses):,} requests, {len(scene.service.sent):,} messages"
        print(f"{at / 60:6.1f} min: {counts}, {memory:.0f} MiB in {', '.join(LINES)}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
