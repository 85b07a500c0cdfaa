"""`make matrix`: the tests that a release matters to, on each release of Python, PostgreSQL and Redis.

RabbitMQ's releases have a command of their own, `make brokers`. What cannot be had here (no Debian, no right to mount,
no mirror) says so and is left out.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.child import StartError
from tests.matrix import report
from tests.matrix.combinations import COMBINATIONS, QUICK_TESTS, Combination
from tests.matrix.report import Outcome
from tests.runs import create_parser, print_left_out, run_each, run_tests, select_names

# A run hangs, or nearly, if it takes longer.
TESTS_WITHIN, FULL_WITHIN, QUICK_WITHIN = timedelta(minutes=20), timedelta(minutes=60), timedelta(minutes=6)


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = create_parser("make matrix", __doc__, quick_help="only what CI runs, and the page stays as it is")
    parser.add_argument("--full", action="store_true", help="the whole test suite on each, and the page stays as it is")
    options = parser.parse_args()
    if options.list:
        print("\n".join(COMBINATIONS))
        return 0
    outcomes = run_each(
        select_names(parser, options.only, COMBINATIONS),
        lambda name: _try(COMBINATIONS[name], quick=options.quick, full=options.full),
        publish=None if options.quick or options.full else report.publish,
    )
    print("\n" + report.table(outcomes))
    return int(any(outcome.tests.failed for outcome in outcomes))


def _try(combination: Combination, *, quick: bool, full: bool) -> Outcome | None:
    """Run one combination; None where it cannot be had."""
    try:
        python, tried = combination.prepare()
    except StartError as problem:
        print_left_out(combination.name, problem)
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
