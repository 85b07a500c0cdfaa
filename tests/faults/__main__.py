"""`make faults`: run every fault, print the table, write it into the documentation, fail if anything was lost."""

from __future__ import annotations

import argparse
import sys
import time

from devstack import signal_handling
from tests.faults import injected, report
from tests.faults.judge import Verdict
from tests.faults.scene import FAULTS, Fault, run
from tests.faults.world import a_world

PROBLEMS_SHOWN = 10


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", metavar="NAME[,NAME]", help="run these alone; the page is then left as it is")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    options = parser.parse_args()
    injected.load()
    if options.list:
        for found in FAULTS.values():
            print(f"{found.name:32} {found.title}")
        return 0
    names = options.only.split(",") if options.only else list(FAULTS)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}")
    signal_handling.interrupt_on_signals()
    began = time.monotonic()
    results = _run([FAULTS[name] for name in names])
    print("\n" + report.table(results))
    if not options.only:
        report.publish(results, took=time.monotonic() - began)
    return int(any(verdict.problems for _, verdict in results))


def _run(faults: list[Fault]) -> list[tuple[Fault, Verdict]]:
    results: list[tuple[Fault, Verdict]] = []
    with a_world() as world:
        for found in faults:
            began = time.monotonic()
            print(f"{found.name}: {found.title} ... ", end="", flush=True)
            verdict = run(world, found)
            took = time.monotonic() - began
            print("FAILED" if verdict.problems else "ok", *report.figures(verdict), f"({took:.0f} s)", sep="  ")
            for problem in verdict.problems[:PROBLEMS_SHOWN]:
                print(f"    {problem}")
            sys.stdout.flush()
            results.append((found, verdict))
    return results


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
