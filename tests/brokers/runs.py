"""What one combination of `make brokers` came to."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from devstack.brokers import SETTING, Combination
from tests.runs import Tally, run

# How `make faults` reports each.
VERDICT = re.compile(r"^\w+: .* \.\.\. (ok|FAILED)\b", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What one combination came to; without faults it was a quick one."""

    combination: str
    rabbitmq: str
    erlang: str
    tests: Tally
    faults: Tally | None
    took: timedelta

    @property
    def failed(self) -> bool:
        return bool(self.tests.failed or (self.faults and self.faults.failed))


def run_faults(combination: Combination, names: Sequence[str], *, within: timedelta) -> Tally:
    """Run these faults; one that was not come to has failed."""
    words = [sys.executable, "-m", "tests.faults", "--only", ",".join(names)]
    _, printed = run(words, environ={SETTING: str(combination)}, within=within)
    passed = VERDICT.findall(printed).count("ok")
    return Tally(passed, len(names) - passed)
