"""Python run elsewhere or on other servers, bounded in time: one run of pytest, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.project import PROJECT

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
