"""Processes that are started here: each in a session of its own, its output in a file, its identity on disk.

A session of its own, because Ctrl-C in a terminal goes to the whole foreground group, and whoever supervises must be
able to stop things in order. Its identity on disk, because a supervisor may be killed, and its successor finds what
was left by it.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

LOOPBACK = "127.0.0.1"
POLL_INTERVAL = timedelta(milliseconds=50)
# What the kernel needs to bury a killed process on a loaded machine.
BURIAL = timedelta(seconds=5)
# A process number is used again no sooner than this, and no step of the clock between two runs is larger by chance.
SAME_START = timedelta(minutes=1)
LINES_SHOWN = 20


class StartError(Exception):
    """Something that was started here did not do what it was started for; the message is for a person."""


def wait_until(condition: Callable[[], bool], *, within: timedelta) -> bool:
    """Poll the condition; tell whether it came true in time."""
    deadline = time.monotonic() + within.total_seconds()
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL.total_seconds())
    return True


@dataclass(eq=False)
class Child:
    """One process and everything it starts in its turn."""

    name: str
    _: KW_ONLY
    # Where it works.
    directory: Path
    log: Path
    # Remembers the process number while it runs.
    record: Path
    # Another user to run as, which only root can ask for.
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # How long it may take to end when asked to.
    patience: timedelta = timedelta(seconds=10)
    _popen: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def start(self, command: Sequence[str], *, environ: Mapping[str, str]) -> None:
        """Start it; end first what an earlier supervisor left running under the same record."""
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The log tells of this run; a second start within the run goes on with it.
        with self.log.open("ab" if self._popen else "wb") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=self.directory,
                user=self.user,
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
                start_new_session=True,
            )
        process = psutil.Process(self._popen.pid)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}))

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs; a negative number is the signal that ended it."""
        return self._popen.poll() if self._popen else None

    @property
    def is_running(self) -> bool:
        """Whether it was started here and has not ended."""
        return self._popen is not None and self.exit_code is None

    def stop(self) -> None:
        """Ask it to end, and kill what has not after its patience; nothing happens where nothing runs."""
        stop_all([self], within=self.patience)

    def kill(self) -> None:
        """End it and all it started without asking."""
        _reap(self.family())
        self.forget()

    def wait_until(self, ready: Callable[[], bool], *, within: timedelta) -> None:
        """Wait for the condition.

        Raises StartError, with the end of the log, when the process ends first or the time is over.
        """
        came = wait_until(lambda: not self.is_running or ready(), within=within)
        if not self.is_running:
            raise StartError(self.account())
        if not came:
            raise StartError(f"{self.name} was not ready within {within.total_seconds():.0f} s. {self.last_lines()}")

    def run(self, command: Sequence[str], *, environ: Mapping[str, str], within: timedelta) -> None:
        """Start it and wait for its success.

        Raises StartError, with the end of the log, when it fails or the time is over.
        """
        with ExitStack() as unfinished:
            unfinished.callback(self.kill)
            self.start(command, environ=environ)
            if not wait_until(lambda: not self.is_running, within=within):
                raise StartError(f"{self.name} did not end within {within.total_seconds():.0f} s. {self.last_lines()}")
        if self.exit_code:
            raise StartError(self.account())

    def account(self) -> str:
        """Tell how it ended, with the end of its log."""
        return f"{self.name} ended with exit code {self.exit_code}. {self.last_lines()}"

    def last_lines(self) -> str:
        """Return a sentence that names the log and shows its end."""
        lines = self.log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] if self.log.exists() else []
        if not lines:
            return f"Its log, {self.log}, is empty."
        return "\n".join([f"Its log, {self.log}, ends with:", *(f"  {line}" for line in lines)])

    def family(self) -> list[Any]:
        """Return what runs of the session that the record names, its leader first, and what descends from it."""
        try:
            remembered = json.loads(self.record.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return []
        number = remembered["pid"]
        # The number is nobody else's as long as one process of the session runs, even after its leader's death.
        session = sorted((p for p in psutil.process_iter() if _session_of(p) == number), key=lambda p: p.pid != number)
        with suppress(psutil.NoSuchProcess):
            began = session[0].create_time() if session else 0
            if session and session[0].pid == number and abs(began - remembered["started"]) > SAME_START.total_seconds():
                # All of it has ended, and the number has gone to a stranger.
                return []
        descendants = [child for process in session for child in _descendants(process)]
        return list(dict.fromkeys([*session, *descendants]))

    def forget(self) -> None:
        """Drop the record of a process that has ended."""
        if self._popen:
            self._popen.wait()
        self.record.unlink(missing_ok=True)


def stop_all(children: Iterable[Child], *, within: timedelta) -> None:
    """Ask all to end at once, give them this time together, and kill what has not ended by then."""
    children = list(children)
    families = [child.family() for child in children]
    for child, family in zip(children, families, strict=True):
        # The leader tells the others; orphans have nobody who would.
        asked = family[:1] if family and _session_of(family[0]) == family[0].pid else family
        for process in asked:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(child.stop_signal)
    everyone = [process for family in families for process in family]
    wait_until(lambda: not any(map(_is_alive, everyone)), within=within)
    _reap(everyone)
    for child in children:
        child.forget()


def _is_alive(process: Any) -> bool:
    try:
        # A zombie has ended; whether its parent ever reaps it is not ours to wait for.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _session_of(process: Any) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _descendants(process: Any) -> list[Any]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _reap(processes: Iterable[Any]) -> None:
    alive = [process for process in processes if _is_alive(process)]
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(map(_is_alive, alive)), within=BURIAL)


class Server(ABC):
    """A server for this machine alone: enter it to start, leave it to stop; a later start keeps the port."""

    # The process whose end is the server's end.
    child: Child
    # What it may take until it answers.
    ready_within: timedelta
    # Whether it ever has, as far as we waited for it.
    has_answered = False

    @abstractmethod
    def launch(self) -> None:
        """Start it; it answers when `wait` returns. Raises StartError."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it does its work."""

    def wait(self) -> None:
        """Wait until it answers. Raises StartError, with nothing left running, when it ends first or is not in time."""
        try:
            self.child.wait_until(self.answers, within=self.ready_within)
        except StartError:
            self.kill()
            raise
        self.has_answered = True

    def start(self) -> None:
        """Start and wait until it answers. Raises StartError."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """End in good order; also what an earlier run left behind."""
        self.child.stop()

    def kill(self) -> None:
        """End as in a crash."""
        self.child.kill()

    def __enter__(self) -> Self:
        with ExitStack() as unfinished:
            unfinished.callback(self.kill)
            self.start()
            unfinished.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
