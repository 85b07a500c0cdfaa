"""`make bench ARGS='--against COMMIT'`: this release beside an earlier one, in turns, on the same servers."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]

from bench.measures import ingest
from bench.results import Measure, Row, at_least, at_most
from bench.stage import READY_WITHIN, Stage, memory_of
from devstack.child import LOOPBACK, Child
from devstack.ports import free_port

LINES = ("web", "worker", "webhook_worker", "beat", "flower")
MEBI = 1024 * 1024
ALL_OF_THEM = "all five"
# In seconds.
STILL_FOR = 0.5


@dataclass(frozen=True)
class Size:
    """How long everything is left alone, in seconds, before and while its idle processor time is counted."""

    settled: float
    idle: float
    messages: ingest.Size


SIZES = {
    "tiny": Size(0, 1, ingest.Size(20, 20, 10)),
    "quick": Size(5, 20, ingest.Size(5_000, 5_000, 1)),
    "full": Size(10, 60, ingest.Size(20_000, 10_000, 1)),
}


def footprint(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare what the five processes hold and use while nothing happens, and how long each takes to be ready."""
    peer, ours, theirs = _in_turns(stage, repeat, lambda side: _footprint(side, size))

    def row(figure: str, name: str, unit: str, bound: float) -> Row:
        def values(rounds: list[dict[tuple[str, str], float]]) -> list[float]:
            return [found[figure, name] for found in rounds]

        return Row(f"{figure}: {name}", unit, values(ours), peer, values(theirs), ratio_target=at_most(bound))

    return [
        row("idle memory", ALL_OF_THEM, "MiB", 0.5),
        *[row("idle memory", line, "MiB", 0.75) for line in LINES],
        *[row("from exec to ready", line, "s", 0.5) for line in LINES],
        row("processor time of an idle minute", ALL_OF_THEM, "s", 0.5),
    ]


def messages(stage: Stage, size: Size, repeat: int) -> list[Row]:
    """Compare how many status messages a second go from the queue into row, operation, audit and event."""
    peer, ours, theirs = _in_turns(stage, repeat, lambda side: ingest.rate(side, size.messages, line="worker"))
    return [Row("status messages applied", "messages/s", ours, peer, theirs, ratio_target=at_least(1.4))]


MEASURES = {
    "footprint": Measure("footprint", "Five processes, idle, and their start", SIZES, footprint),
    "ingest": Measure("ingest", ingest.MEASURE.title, SIZES, messages),
}


def _in_turns(stage: Stage, repeat: int, measure: Callable[[Stage], Any]) -> tuple[str, list[Any], list[Any]]:
    """Return the other release's name, and what was found of ours and of it, round by round."""
    assert stage.beside is not None, "there is no other release"  # noqa: S101 - `side_by_side` gives one
    peer, theirs = stage.beside
    found: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(repeat):
        for side, rounds in zip((stage, theirs), found, strict=True):
            rounds.append(stage.quiet.measured(measure, side))
    return peer, *found


def _footprint(side: Stage, size: Size) -> dict[tuple[str, str], float]:
    """Return figures by what they are and of which process."""
    found: dict[tuple[str, str], float] = {}
    settings = {"FLOWER_BASIC_AUTH": "operator:of-the-bench", "FLOWER_PORT": str(free_port())}
    with ExitStack() as opened:
        children: dict[str, Child] = {}
        for line in LINES:
            began = time.monotonic()
            children |= opened.enter_context(side.running(line, **settings))
            found["from exec to ready", line] = _ready_at(line, children[line], settings) - began
        time.sleep(size.settled)
        before = sum(map(_processor_time, children.values()))
        time.sleep(size.idle)
        used = sum(map(_processor_time, children.values())) - before
        found["processor time of an idle minute", ALL_OF_THEM] = used * 60 / size.idle
        for line, child in children.items():
            found["idle memory", line] = memory_of(child) / MEBI
    found["idle memory", ALL_OF_THEM] = sum(found["idle memory", line] for line in LINES)
    return found


def _ready_at(line: str, child: Child, settings: Mapping[str, str]) -> float:
    """Return when a process was ready; for most lines the stage has waited for their own word."""
    if line == "beat":
        return _still_since(child)
    if line == "flower":
        child.wait_until(lambda: _answers(settings["FLOWER_PORT"]), within=READY_WITHIN)
    return time.monotonic()


def _still_since(child: Child) -> float:
    """Return since when a process that says nothing has used no processor."""
    used, since = -1.0, time.monotonic()

    def is_still() -> bool:
        nonlocal used, since
        now = _processor_time(child)
        if now > used:
            used, since = now, time.monotonic()
        return time.monotonic() - since > STILL_FOR

    child.wait_until(is_still, within=READY_WITHIN)
    return since


def _answers(port: str) -> bool:
    """Tell whether somebody answers there at all: Flower asks for its password."""
    try:
        urllib.request.urlopen(f"http://{LOOPBACK}:{port}/", timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def _processor_time(child: Child) -> float:
    """Return the seconds of processor time that a child and all it started have used."""
    used = 0.0
    for process in child.family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used
