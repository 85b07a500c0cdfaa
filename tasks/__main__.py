"""Start one of Celery's processes: `python -m tasks worker …`, the options being Celery's own.

`celery -A tasks.celery:app worker …` starts the same. But Celery's command line loads all of its commands, a shell and
Flower into each process, which costs half a second and 15 MB.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any, cast

import click
from celery.bin.base import CLIContext

# Of what is imported nothing is garbage, and to look for some is an eighth of a start.
gc.set_threshold(50_000)

from app.config import Settings  # noqa: E402

# What each is: (Celery's command, its module, the application's name in `tasks.celery`).
PROCESSES = {
    "worker": ("worker", "celery.bin.worker", "status_app"),
    "webhook_worker": ("worker", "celery.bin.worker", "app"),
    "beat": ("beat", "celery.bin.beat", "app"),
    "flower": ("flower", "flower.command", "app"),
}


class Processes(click.Group):
    """Loads the one that is started."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return Celery's command, or None; it finds the application in the context."""
        if cmd_name not in PROCESSES:
            return None
        name, module, app = PROCESSES[cmd_name]
        # All that is missing in one message; the applications by themselves use less.
        Settings.from_environment(cmd_name)
        if cmd_name == "flower":
            ours = import_module("tasks.flower")
            ours.demand_password()
            ours.bound_history()
        ctx.obj = CLIContext(app=getattr(import_module("tasks.celery"), app), no_color=True, workdir=None, quiet=True)
        return cast(click.Command, getattr(import_module(module), name))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return their names, which are the Procfile's."""
        return list(PROCESSES)


@click.group(cls=Processes, help="Start one process. `python -m tasks NAME --help` shows its options.")
def main(**_: Any) -> None:
    """Leave the rest to Celery."""


# A worker that is told to start anew (HUP) runs its interpreter with these.
sys.argv[:1] = ["-m", "tasks"]
main(sys.argv[2:], prog_name="python -m tasks")
