"""Start one of Celery's processes: `python -m tasks worker …`, the options being Celery's own.

`celery -A tasks.celery:app worker …` starts the same. But Celery's command line loads all of its commands, a shell and
Flower into each process, which costs half a second and 15 MB.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any, NamedTuple, cast

import click
from celery.bin.base import CLIContext

# Of what is imported nothing is garbage, and to look for some is an eighth of a start.
gc.set_threshold(50_000)

from app.config import Settings  # noqa: E402

ResolvedCommand = tuple[str | None, click.Command | None, list[str]]


class Process(NamedTuple):
    """A line of the Procfile: Celery's command, its module, the application's name in `tasks.celery`, what it does."""

    command: str
    module: str
    celery_app_name: str
    description: str


PROCESSES = {
    "worker": Process("worker", "celery.bin.worker", "status_app", "applies the external service's status messages"),
    "webhook_worker": Process("worker", "celery.bin.worker", "app", "delivers webhooks and keeps house"),
    "beat": Process("beat", "celery.bin.beat", "app", "asks for the sweeps; one is enough"),
    "flower": Process("flower", "flower.command", "app", "shows tasks and workers"),
}


class LazyProcessGroup(click.Group):
    """Loads the one that is started."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return Celery's command, or None."""
        if cmd_name not in PROCESSES:
            return None
        return cast(click.Command, getattr(import_module(PROCESSES[cmd_name].module), PROCESSES[cmd_name].command))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> ResolvedCommand:
        """Return the process that is started; the command finds the application in the context.

        Raises SettingsError where it lacks what it uses.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if name in PROCESSES and "--help" not in rest:
            # All that is missing in one message; the applications by themselves use less.
            Settings.from_environment(name)
            if name == "flower":
                ours = import_module("tasks.flower")
                ours.require_password_on_every_page()
                ours.limit_history()
            app = getattr(import_module("tasks.celery"), PROCESSES[name].celery_app_name)
            ctx.obj = CLIContext(app=app, no_color=True, workdir=None, quiet=True)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Name them without loading them."""
        with formatter.section("Processes"):
            formatter.write_dl([(name, process.description) for name, process in PROCESSES.items()])


_HELP = "Start one process. `python -m tasks NAME --help` shows its options, which are Celery's."


@click.group(cls=LazyProcessGroup, help=_HELP)
def main(**_: Any) -> None:
    """Leave the rest to Celery."""


# A worker that is told to start anew (HUP) runs its interpreter with these.
sys.argv[:1] = ["-m", "tasks"]
main(sys.argv[2:], prog_name="python -m tasks")
