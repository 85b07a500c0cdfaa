"""`make matrix`: the tests that a release matters to, on each release of Python, PostgreSQL and Redis.

RabbitMQ's releases have a command of their own, `make brokers`. What cannot be had here (no Debian, no right to mount,
no mirror) says so and is left out.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.child import StartError
from tests.matrix import report
from tests.matrix.combinations import COMBINATIONS, QUICK_TESTS, Combination
from tests.matrix.report import Outcome
from tests.runs import run_tests

# A run hangs, or nearly, if it takes longer.
TESTS_WITHIN, FULL_WITHIN, QUICK_WITHIN = timedelta(minutes=20), timedelta(minutes=60), timedelta(minutes=6)


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__)
    parser.add_argument("--only", metavar="NAME[,NAME]", help="run these combinations alone; the others' rows stay")
    parser.add_argument("--list", action="store_true", help="name the combinations and end")
    parser.add_argument("--quick", action="store_true", help="only what CI runs, and the page stays as it is")
    parser.add_argument("--full", action="store_true", help="the whole test suite on each, and the page stays as it is")
    options = parser.parse_args()
    if options.list:
        print("\n".join(COMBINATIONS))
        return 0
    names = options.only.split(",") if options.only else list(COMBINATIONS)
    if unknown := [name for name in names if name not in COMBINATIONS]:
        parser.error(f"no such combination: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    for name in names:
        if outcome := _try(COMBINATIONS[name], quick=options.quick, full=options.full):
            outcomes.append(outcome)
            # Each when it is done: all of them take an hour.
            if not (options.quick or options.full):
                report.publish([outcome])
    print("\n" + report.table(outcomes))
    return int(any(outcome.tests.failed for outcome in outcomes))


def _try(combination: Combination, *, quick: bool, full: bool) -> Outcome | None:
    """Run one combination; None where it cannot be had."""
    try:
        python, tried = combination.prepare()
    except StartError as problem:
        sentence = f"{combination.name} is left out: {problem}"
        # Nobody reads CI's output from end to end.
        print(sentence.upper() if os.environ.get("CI") else sentence, flush=True)
        return None
    print(f"\n{combination.name}: {tried}", flush=True)
    if quick:
        selection, within = QUICK_TESTS, QUICK_WITHIN
    elif full:
        selection, within = ("-n", "auto"), FULL_WITHIN
    else:
        selection, within = ("-n", "auto", *combination.tests), TESTS_WITHIN
    began = time.monotonic()
    with TemporaryDirectory(prefix="rita-matrix-") as folder:
        tests = run_tests(python, *selection, environ=combination.environ, folder=Path(folder), within=within)
    return Outcome(combination.name, tried, tests, took=timedelta(seconds=time.monotonic() - began))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
