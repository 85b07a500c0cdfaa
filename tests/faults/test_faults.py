"""The quickest and most telling faults, by the same scenes and the same judge as `make faults`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from devstack.rabbitmq import is_installed
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name
from tests.faults import injected
from tests.faults.scene import FAULTS, Fault, run
from tests.faults.world import World, a_world

injected.load()
QUICK = [found for found in FAULTS.values() if found.quick]

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.skipif(not is_installed(os.environ), reason="there is no rabbitmq-server on the PATH"),
    # Recovery and every deadline are waited for, before a test gives up.
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@pytest.mark.parametrize("found", QUICK, ids=lambda found: found.name)
def test_nothing_is_lost_stuck_or_applied_twice_and_all_recovers_in_time_when(found: Fault, world: World) -> None:
    verdict = run(world, found)

    assert verdict.problems == []
    assert verdict.accepted > 0
    assert verdict.ended == verdict.opened > 0
