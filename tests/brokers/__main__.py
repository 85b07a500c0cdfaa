"""`make brokers`: the tests and faults that a broker matters to, on each RabbitMQ and type of queue.

A combination that cannot be had here (no Debian, no right to mount, no mirror) says so and is left out.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.brokers import COMBINATIONS, SETTING, Combination
from devstack.child import StartError
from tests.brokers import report
from tests.brokers.runs import Outcome, run_faults
from tests.faults import injected
from tests.faults.scene import FAULTS
from tests.runs import create_parser, print_left_out, run_each, run_tests, select_names

TESTS = (
    "tests/integration/status",
    "tests/integration/tasks",
    "tests/integration/sse",
    "tests/integration/outbound/test_frame_reader.py",
    "tests/integration/test_dead_letters.py",
    "tests/integration/test_doctor.py",
    "tests/e2e",
)
# What CI runs beside its own broker: a few, for which one process is up soonest.
QUICK = ("-m", "brokers and not bench", *TESTS)
# A run hangs, or nearly, if it takes longer.
TESTS_WITHIN, FAULTS_WITHIN, QUICK_WITHIN = timedelta(minutes=25), timedelta(minutes=20), timedelta(minutes=6)
# The module whose faults happen to the broker.
BROKERS_FAULTS = "tests.faults.injected.broker"


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = create_parser(
        "make brokers", __doc__, quick_help="only what CI runs: no faults, and the page stays as it is"
    )
    options = parser.parse_args()
    if options.list:
        print("\n".join(COMBINATIONS))
        return 0
    outcomes = run_each(
        select_names(parser, options.only, COMBINATIONS),
        lambda name: _try(COMBINATIONS[name], quick=options.quick),
        publish=None if options.quick else report.publish,
    )
    print("\n" + report.table(outcomes))
    return int(any(outcome.failed for outcome in outcomes))


def _try(combination: Combination, *, quick: bool) -> Outcome | None:
    """Run one combination; None where it cannot be had."""
    try:
        installation = combination.installation(os.environ)
    except StartError as problem:
        print_left_out(combination, problem)
        return None
    rabbitmq, erlang = installation.versions()
    print(f"\n{combination}: RabbitMQ {rabbitmq}, Erlang {erlang}", flush=True)
    began = time.monotonic()
    python, environ = [sys.executable], {SETTING: str(combination)}
    with TemporaryDirectory(prefix="rita-brokers-") as folder:
        if quick:
            tests = run_tests(python, *QUICK, environ=environ, folder=Path(folder), within=QUICK_WITHIN)
            faults = None
        else:
            selection = ("-n", "auto", *TESTS)
            tests = run_tests(python, *selection, environ=environ, folder=Path(folder), within=TESTS_WITHIN)
            faults = run_faults(combination, _names_of_faults(), within=FAULTS_WITHIN)
    return Outcome(
        combination=str(combination),
        rabbitmq=rabbitmq,
        erlang=erlang,
        tests=tests,
        faults=faults,
        took=timedelta(seconds=time.monotonic() - began),
    )


def _names_of_faults() -> list[str]:
    injected.load()
    return [found.name for found in FAULTS.values() if found.inject.__module__ == BROKERS_FAULTS]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
