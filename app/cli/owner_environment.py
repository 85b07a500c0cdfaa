"""`flask --app app owner-environment`: the database's owner for PostgreSQL's own programs, none of it in an argument.

A program's arguments are in the list of processes, for everybody on the machine to read; its environment is not.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import click
from flask.cli import with_appcontext
from sqlalchemy import make_url

from app import extensions
from app.cli.output import OperatorCommand

# What libpq reads: https://www.postgresql.org/docs/current/libpq-envars.html.
_LIBPQ_VARIABLE_BY_URL_PARAMETER = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "host": "PGHOST",
    "port": "PGPORT",
}


def libpq_environment(database_url: str) -> Mapping[str, str]:
    """Return the variables with which psql and pg_dump connect to where a database URL leads."""
    made = make_url(database_url)
    named = {"PGHOST": made.host, "PGPORT": made.port, "PGUSER": made.username, "PGPASSWORD": made.password}
    variables = _LIBPQ_VARIABLE_BY_URL_PARAMETER
    asked = {variables[name]: value for name, value in made.query.items() if name in variables}
    found = {**named, "PGDATABASE": made.database, **asked}
    return {name: str(value) for name, value in found.items() if value}


@click.command("owner-environment", cls=OperatorCommand)
@with_appcontext
def owner_environment() -> None:
    """Print lines for a shell to `eval`, with which psql, pg_dump and pg_restore connect as the database's owner."""
    for name, value in libpq_environment(extensions.settings().owner_database_url).items():
        click.echo(f"export {name}={shlex.quote(value)}")
