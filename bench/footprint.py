"""What the five processes of the Procfile hold and use while nothing happens, and how soon each is ready."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from bench.processor_time import processor_time
from bench.stage import READY_WITHIN, Stage, memory_of
from devstack.child import LOOPBACK, Child
from devstack.ports import free_port

LINES = ("web", "worker", "webhook_worker", "beat", "flower")
ALL_OF_THEM = "all five"
MEBI = 1024 * 1024
# In seconds.
STILL_FOR = 0.5


@dataclass(frozen=True)
class Size:
    """How long everything is left alone, in seconds, before and while its idle processor time is counted."""

    settled: float
    idle: float


def measure(side: Stage, size: Size) -> dict[tuple[str, str], float]:
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
        before = sum(map(processor_time, children.values()))
        time.sleep(size.idle)
        used = sum(map(processor_time, children.values())) - before
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
        now = processor_time(child)
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
