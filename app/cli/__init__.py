"""Commands for operators: `flask --app app …`. Tables for people, `--json` for scripts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import click
from flask import Flask
from flask.cli import AppGroup

from app.extensions import db, settings_of

if TYPE_CHECKING:
    from flask_migrate import Migrate

# Where each is: (module of this package, its name there); and what it uses besides the database.
COMMAND_LOCATIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "dead-letters": ("dead_letters", "dead_letters_group", ("rabbitmq_url",)),
    "doctor": ("doctor", "doctor", ()),
    "operations": ("operations", "operations_group", ("rabbitmq_url", "redis_url")),
    "owner-environment": ("owner_environment", "owner_environment", ()),
    "organizations": ("organizations", "organizations", ()),
    "seal-keys": ("keys", "seal_keys", ("seal_keys",)),
    "token": ("keys", "token", ()),
}
ResolvedCommand = tuple[str | None, click.Command | None, list[str]]
# Flask-Migrate's.
MIGRATE_COMMAND = "db"
# Where Alembic's scripts lie, seen from the project.
MIGRATIONS_DIRECTORY = "migrations"


class LazyCommandGroup(AppGroup):
    """Each is imported when it is asked for: a process that serves or works needs none of them."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app.name)
        self._app = app

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None."""
        if cmd_name in COMMAND_LOCATIONS:
            module, name, _ = COMMAND_LOCATIONS[cmd_name]
            return cast(click.Command, getattr(import_module(f"app.cli.{module}"), name))
        if cmd_name == MIGRATE_COMMAND:
            flask_migrate(self._app)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> ResolvedCommand:
        """Return the command that is run. Raises SettingsError where it lacks what it uses."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMAND_LOCATIONS and not {"--help"} & {*rest}:
            settings_of(self._app).require(*COMMAND_LOCATIONS[name][2])
        return name, command, rest

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted({*COMMAND_LOCATIONS, MIGRATE_COMMAND, *super().list_commands(ctx)})


def init_app(app: Flask) -> None:
    """Add the commands, our own and Flask-Migrate's."""
    app.cli = LazyCommandGroup(app)


def flask_migrate(app: Flask) -> Migrate:
    """Bind Flask-Migrate to the application, once, and return it."""
    if "migrate" not in app.extensions:
        from flask_migrate import Migrate  # noqa: PLC0415 - see Commands

        # This adds its command, too.
        Migrate().init_app(app, db, directory=MIGRATIONS_DIRECTORY)
    return cast("Migrate", app.extensions["migrate"].migrate)
