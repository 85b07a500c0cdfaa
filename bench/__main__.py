"""`make bench`: every measure, the product beside its peers, in one run on one machine."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from bench import against, measures, releases, report
from bench.results import Measure, Row
from bench.stage import stage
from devstack import signal_handling
from devstack.child import StartError

# Of a full run and of a quick one: an odd number has a median that was measured.
REPEAT, QUICK_REPEAT = 5, 3


def main() -> int:
    """Run what was chosen; return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--list", action="store_true", help="list the measures")
    arguments.add_argument("--only", action="append", metavar="MEASURE", help="this one alone; may be repeated")
    arguments.add_argument("--quick", action="store_true", help="smaller sizes: for developing, not for the page")
    arguments.add_argument("--repeat", type=int, help=f"rounds of each measure ({REPEAT}, with --quick {QUICK_REPEAT})")
    arguments.add_argument("--against", metavar="COMMIT", help="beside an earlier release instead of the peers")
    arguments.add_argument("--write", action="store_true", help="write docs/performance.md")
    chosen = arguments.parse_args()
    known: dict[str, Measure] = against.MEASURES if chosen.against else {each.name: each for each in measures.ALL}
    if chosen.list:
        print(*(f"{name:10} {measure.title}" for name, measure in known.items()), sep="\n")
        return 0
    unknown = sorted(set(chosen.only or ()) - known.keys())
    if unknown:
        arguments.error(f"there is no measure {', '.join(unknown)}; --list shows them")
    wanted = [measure for name, measure in known.items() if not chosen.only or name in chosen.only]
    if chosen.write and chosen.only:
        arguments.error("the page shows one whole run: --write goes without --only")
    scale = "quick" if chosen.quick else "full"
    repeat = chosen.repeat or (QUICK_REPEAT if chosen.quick else REPEAT)
    signal_handling.interrupt_on_signals()
    try:
        run(wanted, scale=scale, repeat=repeat, writes=chosen.write, commit=chosen.against)
    except StartError as failed:
        print(failed, *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Broken off; nothing of it is left.", file=sys.stderr)
        return 130
    return 0


def run(wanted: list[Measure], *, scale: str, repeat: int, writes: bool, commit: str | None) -> None:
    """Run measures on servers of this run's own; print each one's table, and write the page, as it is found."""
    found: dict[Measure, list[Row]] = {}
    with ExitStack() as opened:
        prepared = opened.enter_context(stage())
        if commit:
            # The same servers, a database for each.
            prepared = opened.enter_context(releases.side_by_side(prepared, commit))
        machine = list(report.machine(prepared))
        print(*machine, sep="\n")
        for measure in wanted:
            print(f"\n{measure.title} ({scale}, {repeat} rounds)", flush=True)
            found[measure] = measure.run(prepared, measure.sizes[scale], repeat)
            print(*report.table(found[measure]), sep="\n", flush=True)
            if writes:
                told = [*machine, *prepared.quiet.told()]
                report.write(found, machine=told, scale=scale, repeat=repeat, is_against=bool(commit))
    print("", *prepared.quiet.told(), report.verdict(found), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
