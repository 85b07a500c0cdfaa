"""Commands for operators: `flask --app app …`. Tables for people, `--json` for scripts."""

from __future__ import annotations

from flask import Flask

from app.cli import dead_letters, doctor, keys, operations, organizations


def init_app(app: Flask) -> None:
    """Add the commands."""
    commands = (
        dead_letters.group,
        doctor.doctor,
        operations.group,
        organizations.organizations,
        keys.seal_keys,
        keys.token,
    )
    for command in commands:
        app.cli.add_command(command)
