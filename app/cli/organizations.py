"""`flask --app app organizations`: who uses this installation, in numbers."""

from __future__ import annotations

import click
import pydantic_core
from flask.cli import with_appcontext

from app.cli.plainly import Command
from app.services import organizations as service
from app.unit_of_work import unit_of_work


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_appcontext
def organizations(*, limit: int, as_json: bool) -> None:
    """List the organizations, newest first, with how many connections each has and how many are at work."""
    with unit_of_work(system=True) as work:
        rows = service.overview(work.session, limit=limit)
    for row in rows:
        if as_json:
            click.echo(pydantic_core.to_json(row._asdict()).decode())
        else:
            since = row.created_at.isoformat(timespec="seconds")
            click.echo(f"{row.id}  {since}  {row.connections:>4} connections  {row.at_work:>4} at work")
    if not as_json:
        click.echo(f"{len(rows)} organizations")
