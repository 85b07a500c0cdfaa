"""One run of pytest, or of `make faults`, pointed at a combination, and how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

from devstack.brokers import SETTING, Combination
from tests.project import PROJECT

# For what was started to be stopped in order.
STOPPED_WITHIN = timedelta(minutes=1)
# How `make faults` reports each.
VERDICT = re.compile(r"^\w+: .* \.\.\. (ok|FAILED)\b", re.MULTILINE)


@dataclass(frozen=True)
class Tally:
    """How many did what; a run that ended otherwise than by its own verdict has failed as a whole."""

    passed: int
    failed: int
    skipped: int = 0


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


def run_tests(combination: Combination, *selection: str, folder: Path, within: timedelta) -> Tally:
    """Run pytest; what it prints goes to the terminal."""
    file = folder / "tests.xml"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={file}", *selection]
    code, _ = _run(words, combination, within=within)
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


def run_faults(combination: Combination, names: Sequence[str], *, within: timedelta) -> Tally:
    """Run these faults; one that was not come to has failed."""
    _, printed = _run(["-m", "tests.faults", "--only", ",".join(names)], combination, within=within)
    passed = VERDICT.findall(printed).count("ok")
    return Tally(passed, len(names) - passed)


def _run(words: Sequence[str], combination: Combination, *, within: timedelta) -> tuple[int, str]:
    """Run Python; return the exit code and what was printed, which goes to the terminal, too."""
    printed: list[str] = []
    with (
        subprocess.Popen(
            [sys.executable, *words],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {SETTING: str(combination), "PYTHONUNBUFFERED": "1"},
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
