"""How `make test` spreads the tests over several pytest processes (pytest-xdist), each with servers of its own.

A module stays in one process, and so do the modules of a package that start one whole Rita for all of them. What takes
longest begins first. Tests marked `alone` (they measure a clock, or fill every core) run at the end, one after the
other, when the other processes have ended.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# What stays together, in the order in which it begins: the longest first. Whatever is not named here is a module, and
# comes behind.
UNITS = (
    "tests/faults",
    # Before the rest of its package, which shares another Rita.
    "tests/browser/test_make_run.py",
    "tests/browser",
    "tests/integration/status/test_worker.py",
    "tests/e2e/test_keys_rotated.py tests/e2e/test_tracing.py tests/e2e/test_metrics.py tests/e2e/test_many_workers.py",
    "tests/e2e",
    "tests/integration/status/test_redis_transport.py",
    "tests/integration/status/test_outages.py",
    "tests/devstack/test_run.py",
    "tests/proxies",
    # These share the packages of npm.
    "tests/devstack/test_examples.py tests/devstack/test_client.py tests/devstack/test_schemas.py",
    "tests/security/test_schemathesis.py",
    "tests/integration/sse",
)
ALONE = "alone"
# Among what stands in brackets behind a test's name, one of its parameters.
_IS_ALONE = re.compile(rf"[\[-]{ALONE}(?=[\]-])[^\[]*$")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Return what gives the tests out, instead of what `--dist` names."""
    # The order of the collection is the order in which to begin, whatever the number of tests.
    config.option.loadscopereorder = False
    return AloneLast(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` means: tests wait for servers half of the time, so twice as many as cores.

    Servers that the environment names are one set, so that there is one process for them.
    """
    if any(os.environ.get(f"TEST_{name}_URL") for name in ("DATABASE", "REDIS", "RABBITMQ")):
        return 0
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(name=ALONE)
def _alone(request: pytest.FixtureRequest) -> Any:
    """Exist, for the parameter below."""
    return request.param


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Write into a test's name that it runs alone: the names are all that the scheduler sees."""
    if metafunc.definition.get_closest_marker(ALONE):
        metafunc.fixturenames.append(ALONE)
        metafunc.parametrize(ALONE, [None], ids=[ALONE], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, for several processes."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: _rank(_unit(item.nodeid)))


def _unit(nodeid: str) -> str:
    """Return the name of what a test stays together with."""
    if _IS_ALONE.search(nodeid):
        return ALONE
    return _unit_of_file(nodeid.split("::", 1)[0])


# Asked of each test, by each process and once more when it ends.
@cache
def _unit_of_file(file: str) -> str:
    return next((unit for unit in UNITS if any(_lies_in(file, place) for place in unit.split())), file)


def _lies_in(file: str, place: str) -> bool:
    return PurePosixPath(file).is_relative_to(place)


def _rank(unit: str) -> int:
    if unit == ALONE:
        return len(UNITS) + 1
    return UNITS.index(unit) if unit in UNITS else len(UNITS)


class AloneLast(LoadScopeScheduling):
    """Gives out what stays together whole, and the tests that run alone to the last process that is left."""

    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        if next(iter(self.workqueue)) != ALONE:
            super()._assign_work_unit(node)
            return
        others = [other for other in self.nodes if other is not node]
        if any(not other.shutting_down for other in others):
            # It runs what it still has, and ends.
            node.shutdown()
        elif not any(self._pending_of(self.assigned_work[other]) for other in others):
            super()._assign_work_unit(node)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Note that a test has ended; the last process may have waited for that."""
        super().mark_test_complete(node, item_index, duration)
        if ALONE in self.workqueue:
            for other in self.nodes:
                self._reschedule(other)
