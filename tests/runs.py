"""Tests run elsewhere or on other servers, for `make brokers` and `make matrix`.

Their options, the combinations that are asked for and those left out; and one run of pytest, bounded in time.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree as ET

from tests.project import PROJECT

Outcome = TypeVar("Outcome")

# For what was started to be stopped in order.
STOPPED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Tally:
    """How many did what; a run that ended otherwise than by its own verdict has failed as a whole."""

    passed: int
    failed: int
    skipped: int = 0


def run_tests(
    python: Sequence[str], *selection: str, environ: Mapping[str, str], folder: Path, within: timedelta
) -> Tally:
    """Run pytest by a command that runs Python, with more in its environment; it prints to the terminal."""
    file = folder / "tests.xml"
    words = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={file}", *selection]
    code, _ = run(words, environ=environ, within=within)
    if not file.exists():
        return Tally(0, 1)
    suites = ET.parse(file).getroot().iter("testsuite")  # noqa: S314 - pytest has just written it
    counts = [
        {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")} for suite in suites
    ]
    failed = sum(count["failures"] + count["errors"] for count in counts)
    skipped = sum(count["skipped"] for count in counts)
    passed = sum(count["tests"] for count in counts) - failed - skipped
    return Tally(passed, failed or int(code != 0), skipped)


def run(words: Sequence[str], *, environ: Mapping[str, str], within: timedelta) -> tuple[int, str]:
    """Run a command; return the exit code and what was printed, which goes to the terminal, too."""
    printed: list[str] = []
    with (
        subprocess.Popen(
            words,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environ | {"PYTHONUNBUFFERED": "1"},
            # A terminal's Ctrl-C is passed on, once: a second one would stop it in the middle of stopping its servers.
            start_new_session=True,
        ) as process,
        _bounded(process, within=within),
    ):
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return process.returncode, "".join(printed)


@contextmanager
def _bounded(process: subprocess.Popen[str], *, within: timedelta) -> Iterator[None]:
    """End it when its time is over or we are interrupted; it is asked first, so that it stops its servers."""

    def end() -> None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOPPED_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(within.total_seconds(), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        end()
        raise
    finally:
        timer.cancel()


def create_parser(prog: str, description: str | None, *, quick_help: str) -> argparse.ArgumentParser:
    """Return a parser of the options that both have."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--only", metavar="NAME[,NAME]", help="run these combinations alone; the others' rows stay")
    parser.add_argument("--list", action="store_true", help="name the combinations and end")
    parser.add_argument("--quick", action="store_true", help=quick_help)
    return parser


def select_names(parser: argparse.ArgumentParser, only: str | None, known_names: Collection[str]) -> list[str]:
    """Return the combinations that `--only` names, or all; end the command if one is unknown."""
    names = only.split(",") if only else list(known_names)
    if unknown := [name for name in names if name not in known_names]:
        parser.error(f"no such combination: {', '.join(unknown)}")
    return names


def run_each(
    names: Iterable[str],
    run_combination: Callable[[str], Outcome | None],
    *,
    publish: Callable[[list[Outcome]], None] | None,
) -> list[Outcome]:
    """Run combinations and return the outcomes of those that could be had; TERM stops it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    for name in names:
        if outcome := run_combination(name):
            outcomes.append(outcome)
            # Each when it is done: all of them take an hour.
            if publish:
                publish([outcome])
    return outcomes


def print_left_out(name: object, problem: Exception) -> None:
    """Say that a combination cannot be had here; in CI in capitals, since nobody reads its output from end to end."""
    sentence = f"{name} is left out: {problem}"
    print(sentence.upper() if os.environ.get("CI") else sentence, flush=True)
