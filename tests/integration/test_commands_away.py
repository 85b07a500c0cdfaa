"""The operators' commands while a server is away: one sentence that names it and says what to do, no traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result
from flask import Flask

from app.cli import MIGRATE_COMMAND, output
from devstack.ports import free_port

ID = "0199a1f4-6c3e-7000-8000-00000000c0de"
OF_THE_DATABASE = [
    ["operations", "list"],
    ["operations", "show", ID],
    ["operations", "retry", ID],
    ["operations", "end", ID, "--yes"],
    ["organizations"],
]
OF_THE_BROKER = [["dead-letters", *words] for words in (["list"], ["show", "1"], ["replay"], ["drop", "--yes"])]


def address(scheme: str) -> str:
    return f"{scheme}://rita:hunter2@127.0.0.1:{free_port()}/rita"


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        # Flask-Migrate's is among ours, and is not.
        if command and name != MIGRATE_COMMAND:
            yield from commands(command) if isinstance(command, click.Group) else [command]


def check(done: Result, *, what: str, setting: str) -> None:
    assert done.exit_code == 1
    (said,) = [line for line in done.stderr.splitlines() if line]
    assert said.startswith(f"Error: {what} does not answer (")
    assert f"look at {setting}, " in said
    assert "hunter2" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("words", OF_THE_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_told_in_a_sentence(another_app: Callable[..., Flask], words: list[str]) -> None:
    away = another_app(database_url=address("postgresql"))

    check(away.test_cli_runner().invoke(args=words), what="The database", setting="DATABASE_URL")


@pytest.mark.parametrize("words", OF_THE_BROKER, ids=" ".join)
def test_a_broker_that_is_away_is_told_in_a_sentence(another_app: Callable[..., Flask], words: list[str]) -> None:
    away = another_app(rabbitmq_url=address("amqp"))

    check(away.test_cli_runner().invoke(args=words), what="The broker", setting="RABBITMQ_URL")


def test_the_release_line_tells_of_the_owners_database(another_app: Callable[..., Flask]) -> None:
    away = another_app(migration_database_url=address("postgresql"))

    done = away.test_cli_runner().invoke(args=["db", "upgrade"])

    check(done, what="The database", setting="MIGRATION_DATABASE_URL")


def test_every_command_of_ours_tells_it_so(flask_app: Flask) -> None:
    ours = list(commands(flask_app.cli))

    assert len(ours) > 8
    assert [command.name for command in ours if not isinstance(command, output.OperatorCommand)] == []
