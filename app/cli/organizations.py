"""`flask --app app organizations`: who uses this installation, in numbers."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.cli.output import OperatorCommand, limit_option, print_json_line, print_row
from app.domain.texts import count_with_noun
from app.services import organizations as service
from app.unit_of_work import unit_of_work


@click.command(cls=OperatorCommand)
@limit_option(default=100, help="At most so many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print each organization as one line of JSON.")
@with_appcontext
def organizations(*, limit: int, as_json: bool) -> None:
    """List the organizations, newest first, with how many connections each has and how many are at work."""
    with unit_of_work(all_tenants=True) as work:
        found = service.list_organizations_with_counts(work.session, limit=limit)
    for each in found:
        if as_json:
            print_json_line(each._asdict())
        else:
            since = each.created_at.isoformat(timespec="seconds")
            count = count_with_noun(each.connections, "connection")
            print_row(each.id, since, count, f"{each.at_work} at work", widths=(36, 25, 16))
    if not as_json:
        print_row(count_with_noun(len(found), "organization"))
