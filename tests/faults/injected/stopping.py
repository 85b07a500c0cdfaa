"""TERM, as a platform sends it at every deployment."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.ledger import Evidence
from tests.faults.scene import Scene, fault
from tests.faults.world import LINES

# What docs/deploy.md tells platforms to give.
GRACE = 40.0


@fault("TERM to every process under load", quick=True)
def everything_terminated(scene: Scene) -> None:
    try:
        scene.world.stop(*LINES, within=GRACE)
    finally:
        codes = {line: scene.world.processes.children[line].exit_code for line in LINES}
        scene.world.start(*LINES)

    def facts(_: Evidence) -> Iterator[str]:
        for line, code in codes.items():
            if code not in (0, None):
                yield f"{line} ended with exit code {code}"

    scene.check(facts)
