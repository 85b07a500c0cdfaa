"""`make run`: the servers, the migration and every process of the Procfile on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

from honcho.environ import parse_procfile

from app.process_settings import environment_for_process
from devstack import environment, links, short_links, signal_handling
from devstack.child import LOOPBACK, Child, StartError, stop_all, wait_until
from devstack.servers import lock_directory, remove, servers

PROJECT = Path(__file__).resolve().parent.parent
LOCAL = PROJECT / ".local"
RELEASE = "release"
WEB = "web"
STAND_IN = "external_service"

# What serves HTTP: the setting of its port, and the path that answers 200 once it does.
SHOWN = {WEB: ("PORT", "/readyz"), STAND_IN: ("EXTERNAL_SERVICE_PORT", "/healthz")}

# What it says when all that a person needs has answered, with the links to sign in by.
READY = "Rita is ready"

MIGRATED_WITHIN = timedelta(minutes=2)
READY_WITHIN = timedelta(minutes=1)
PROBE = timedelta(seconds=5)
# The processes' part of the 20 s that a person waits after Ctrl-C; the servers take the rest.
STOPPED_WITHIN = timedelta(seconds=12)


def main() -> int:
    """Run, or clean up after earlier runs; return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m devstack.run", description=__doc__)
    where = "where data, secrets and logs are kept (%(default)s)"
    arguments.add_argument("--directory", type=Path, default=LOCAL, help=where)
    what = "remove that folder and what an earlier run left running"
    arguments.add_argument("--clean", action="store_true", help=what)
    signal_handling.interrupt_on_signals()
    try:
        chosen = arguments.parse_args()
        directory = chosen.directory.absolute()
        if chosen.clean:
            clean(directory)
        else:
            run(os.environ, directory=directory)
    except StartError as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print_lines("Everything is stopped.")
    return 0


def run(given: Mapping[str, str], *, directory: Path) -> NoReturn:
    """Start everything, print the addresses and watch.

    Raises StartError when something cannot start or ends, KeyboardInterrupt when somebody stops it.
    """
    commands = _commands(given, directory=directory)
    children = {name: _child(name, directory=directory) for name in commands}
    print_lines("Starting the servers; this takes up to half a minute.")
    with servers(directory, environ=given) as backing:
        print_lines(*(f"  {sentence}" for sentence in backing.sentences))
        # Left by a run that was killed, they would still have the ports.
        stop_all(children.values(), within=STOPPED_WITHIN)
        environ = environment.complete_environment(given, servers=backing.environ, directory=directory)
        environ["INSTANCE_ID"] = secrets.token_hex(8)
        release_environ = environment_for_process(RELEASE, environ)
        children.pop(RELEASE).run(_shell(commands[RELEASE]), environ=release_environ, within=MIGRATED_WITHIN)
        print_lines(f"The database is migrated. Starting {', '.join(children)}.")
        with _stop_children_at_exit(children.values()), _people(environ) as people:
            watched = [server.child for server in backing.private]

            def start(name: str) -> None:
                children[name].start(_shell(commands[name]), environ=environment_for_process(name, environ))
                watched.append(children[name])

            # What a person looks at comes first: all at once, each would take as long as all together. And while the
            # broker is still to come, it alone: the others would only say so.
            start(WEB)
            backing.wait()
            shown = [name for name in SHOWN if name in children]
            if STAND_IN in shown:
                start(STAND_IN)
            for name in shown:
                setting, path = SHOWN[name]
                port, instance = int(environ[setting]), environ["INSTANCE_ID"]
                _wait_for_answer(children[name], port, path, instance=instance, watched=watched)
            for name in children.keys() - set(shown):
                start(name)
            print_lines(*_addresses(environ, people, directory=directory))
            wait_until(lambda: bool(_ended_children(watched)), within=timedelta.max)
            raise StartError(_ended_children(watched)[0].account())


def clean(directory: Path) -> None:
    """Remove the directory; StartError while a run uses it."""
    with lock_directory(directory):
        left = [_child(record.stem, directory=directory) for record in (directory / "run").glob("*.json")]
        stop_all(left, within=STOPPED_WITHIN)
        remove(directory)


def print_lines(*lines: str) -> None:
    """Print; a terminal that has gone away must not keep anything from being stopped."""
    with suppress(OSError):
        print(*lines, sep="\n", flush=True)


def _commands(given: Mapping[str, str], *, directory: Path) -> dict[str, str]:
    commands = dict(parse_procfile((PROJECT / "Procfile").read_text()).processes)
    # Whoever names an external service wants that one.
    if not given.get("AUTOMATION_WEBHOOK_URL"):
        verified = shlex.quote(str(directory / "verified.json"))
        commands[STAND_IN] = f"exec {shlex.quote(sys.executable)} -m devstack.external_service --verified {verified}"
    return commands


def _child(name: str, *, directory: Path) -> Child:
    log, record = directory / "logs" / f"{name}.log", directory / "run" / f"{name}.json"
    return Child(name, directory=PROJECT, log=log, record=record)


def _shell(command: str) -> Sequence[str]:
    return ["/bin/sh", "-c", command]


@contextmanager
def _stop_children_at_exit(children: Collection[Child]) -> Iterator[None]:
    try:
        yield
    finally:
        print_lines("Stopping.")
        stop_all(children, within=STOPPED_WITHIN)


def _ended_children(watched: Sequence[Child]) -> list[Child]:
    return [child for child in watched if not child.is_running]


def _wait_for_answer(child: Child, port: int, path: str, *, instance: str, watched: Sequence[Child]) -> None:
    """Wait until the child itself answers 200. Raises StartError when it does not in time, or any of them ends."""
    wait_until(lambda: bool(_ended_children(watched)) or answers(port, path, instance=instance), within=READY_WITHIN)
    for ended in _ended_children(watched):
        raise StartError(ended.account())
    if not answers(port, path, instance=instance):
        place, seconds = f"http://{LOOPBACK}:{port}{path}", READY_WITHIN.total_seconds()
        raise StartError(f"{child.name} did not answer 200 at {place} within {seconds:.0f} s. {child.last_lines()}")


def answers(port: int, path: str, *, instance: str) -> bool:
    """Tell whether the process of this INSTANCE_ID answers 200 there: another one may listen in its place."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE.total_seconds())
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK and answer.headers["X-Instance-ID"] == instance
    return False


@contextmanager
def _people(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the lines that tell how to sign in; none where tokens are signed by somebody else."""
    if not environ.get("JWT_SECRET"):
        yield []
        return
    with short_links.serve_short_links(environ) as lines:
        yield lines


def _addresses(environ: Mapping[str, str], people: Sequence[str], *, directory: Path) -> list[str]:
    here = os.path.relpath(directory)
    lines = ["", f"{READY} at http://{LOOPBACK}:{environ['PORT']}/ for the tokens of your own issuer."]
    if people:
        lines = ["", f"{READY}. {links.HEADING}", *people]
    flower = f"http://{environ.get('FLOWER_ADDRESS') or LOOPBACK}:{environ['FLOWER_PORT']}/"
    return [
        *lines,
        "",
        f"Flower, the tasks:  {flower} (user and password: FLOWER_BASIC_AUTH in {here}/environment)",
        f"Logs:               {here}/logs/<process>.log",
        f"Another terminal:   set -a; . {here}/environment; set +a",
        "Ctrl-C stops everything.",
    ]


if __name__ == "__main__":
    sys.exit(main())
