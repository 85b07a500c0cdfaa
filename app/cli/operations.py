"""`flask --app app operations …`: every organization's operations, as an operator looks at and fixes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast
from uuid import UUID

import click
import pydantic_core
from flask import current_app

from app.cli.output import OperatorCommandGroup, limit_option, print_json_line, print_row
from app.domain.actors import SYSTEM
from app.domain.aggregate import ENDED_STATES, OPEN_STATES
from app.domain.texts import count_with_noun
from app.jobs import JobSender
from app.outbound import events
from app.outbound.credential_store import current_credential_store
from app.services import deliveries, history, operations
from app.unit_of_work import unit_of_work

_HELP = "What is asked of the external service: list, show, retry, end."
operations_group = OperatorCommandGroup("operations", help=_HELP)

TABLE_HEADINGS = ("operation", "kind", "state", "attempts", "since", "organization", "connection", "error")
COLUMN_WIDTHS = (36, 6, 11, 8, 25, 36, 36)

_json_option = click.option("--json", "as_json", is_flag=True, help="Print each operation as one line of JSON.")
_operation_id_argument = click.argument("operation_id", type=click.UUID)


@operations_group.command("list")
@click.option("--organization", type=click.UUID, help="Only those of this organization, by its id.")
@click.option(
    "--state",
    type=click.Choice(sorted(OPEN_STATES | ENDED_STATES)),
    multiple=True,
    help="Only those in this state; may be repeated. Without it: those that are open.",
)
@limit_option(default=100, help="At most so many operations, oldest first.")
@_json_option
def list_operations(*, organization: UUID | None, state: Sequence[str], limit: int, as_json: bool) -> None:
    """Show operations, oldest first."""
    states = list(state) or sorted(OPEN_STATES)
    with unit_of_work(all_tenants=True) as work:
        found = history.find_operations(work.session, organization_id=organization, states=states, limit=limit)
    if as_json:
        for operation in found:
            print_json_line(asdict(operation))
        return
    if found:
        print_row(*TABLE_HEADINGS, widths=COLUMN_WIDTHS)
    for operation in found:
        what = (operation.id, operation.kind, operation.state, operation.attempts)
        since = operation.created_at.isoformat(timespec="seconds")
        whose = (operation.organization_id, operation.connection_id)
        error = operation.error or operation.last_attempt_error or ""
        print_row(*what, since, *whose, error, widths=COLUMN_WIDTHS)
    print_row(count_with_noun(len(found), "operation"))


@operations_group.command()
@_operation_id_argument
@_json_option
def show(operation_id: UUID, *, as_json: bool) -> None:
    """Show all that is known of one operation."""
    with unit_of_work(all_tenants=True) as work:
        found = history.get_operation(work.session, operation_id)
    if as_json:
        print_json_line(asdict(found))
        return
    for name, value in pydantic_core.to_jsonable_python(asdict(found)).items():
        print_row(name, json.dumps(value) if isinstance(value, dict | list) else value, widths=(19,))


@operations_group.command()
@_operation_id_argument
def retry(operation_id: UUID) -> None:
    """Attempt a pending operation's delivery now, instead of when its next attempt is due."""
    with unit_of_work(all_tenants=True) as work:
        delivery = deliveries.make_attempt_due_now(work.session, operation_id, now=work.now)
    is_sent = cast(JobSender, current_app.extensions["job_sender"]).send_delivery_job(delivery)
    away = "The broker is away; the dispatcher tells a worker when it is back"
    print_row("A worker has been told" if is_sent else away)


@operations_group.command()
@_operation_id_argument
@click.option("--yes", is_flag=True, help="End it without asking first.")
def end(operation_id: UUID, *, yes: bool) -> None:
    """End an open operation; its connection goes back to idle, and an answer that still comes is taken."""
    if not yes:
        click.confirm(f"End operation {operation_id}?", abort=True)
    with unit_of_work(all_tenants=True) as work:
        ended, changes = operations.end_operation(work.session, operation_id, actor=SYSTEM, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
        work.after_commit(lambda: current_credential_store().delete(ended.id))
    print_row(f"Ended: {ended.error}")
