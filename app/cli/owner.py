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
from app.cli.plainly import Command

# What libpq reads: https://www.postgresql.org/docs/current/libpq-envars.html.
_OF_QUERY = {
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


def environment_of(url: str) -> Mapping[str, str]:
    """Return the variables with which psql and pg_dump connect to where a database URL leads."""
    made = make_url(url)
    named = {"PGHOST": made.host, "PGPORT": made.port, "PGUSER": made.username, "PGPASSWORD": made.password}
    asked = {_OF_QUERY[name]: value for name, value in made.query.items() if name in _OF_QUERY}
    found = {**named, "PGDATABASE": made.database, **asked}
    return {name: str(value) for name, value in found.items() if value}


@click.command("owner-environment", cls=Command)
@with_appcontext
def owner_environment() -> None:
    """Print lines for a shell to `eval`, with which psql, pg_dump and pg_restore connect as the database's owner."""
    for name, value in environment_of(extensions.settings().owner_database_url).items():
        click.echo(f"export {name}={shlex.quote(value)}")
