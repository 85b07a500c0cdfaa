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

from app.cli.plainly import Group, record, row
from app.domain.actors import SYSTEM
from app.domain.cases import ENDED, OPEN
from app.domain.texts import counted
from app.jobs import Jobs
from app.outbound import events
from app.outbound.sealing import seals
from app.services import deliveries, history, operations
from app.unit_of_work import unit_of_work

group = Group("operations", help="What is asked of the external service: list, show, retry, end.")

HEADINGS = ("operation", "kind", "state", "attempts", "since", "organization", "connection", "error")
WIDTHS = (36, 6, 11, 8, 25, 36, 36)

_as_json = click.option("--json", "as_json", is_flag=True, help="Print each operation as one line of JSON.")
_id = click.argument("operation_id", type=click.UUID)


@group.command("list")
@click.option("--organization", type=click.UUID, help="Only those of this organization, by its id.")
@click.option(
    "--state",
    type=click.Choice(sorted(OPEN | ENDED)),
    multiple=True,
    help="Only those in this state; may be repeated. Without it: those that are open.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most so many operations, oldest first.",
)
@_as_json
def list_operations(*, organization: UUID | None, state: Sequence[str], limit: int, as_json: bool) -> None:
    """Show operations, oldest first."""
    with unit_of_work(system=True) as work:
        found = history.find(
            work.session, organization_id=organization, states=list(state) or sorted(OPEN), limit=limit
        )
    if as_json:
        for operation in found:
            record(asdict(operation))
        return
    if found:
        row(*HEADINGS, widths=WIDTHS)
    for operation in found:
        error = operation.error or operation.last_attempt_error or ""
        since = operation.created_at.isoformat(timespec="seconds")
        whose = (operation.organization_id, operation.connection_id)
        row(operation.id, operation.kind, operation.state, operation.attempts, since, *whose, error, widths=WIDTHS)
    row(counted(len(found), "operation"))


@group.command()
@_id
@_as_json
def show(operation_id: UUID, *, as_json: bool) -> None:
    """Show all that is known of one operation."""
    with unit_of_work(system=True) as work:
        found = history.operation(work.session, operation_id)
    if as_json:
        record(asdict(found))
        return
    for name, value in pydantic_core.to_jsonable_python(asdict(found)).items():
        row(name, json.dumps(value) if isinstance(value, dict | list) else value, widths=(19,))


@group.command()
@_id
def retry(operation_id: UUID) -> None:
    """Attempt a pending operation's delivery now, instead of when its next attempt is due."""
    with unit_of_work(system=True) as work:
        delivery = deliveries.hasten(work.session, operation_id, now=work.now)
    told = cast(Jobs, current_app.extensions["jobs"]).deliver_webhook(delivery)
    row("A worker has been told" if told else "The broker is away; the dispatcher tells a worker when it is back")


@group.command()
@_id
@click.option("--yes", is_flag=True, help="End it without asking first.")
def end(operation_id: UUID, *, yes: bool) -> None:
    """End an open operation; its connection goes back to idle, and an answer that still comes is taken."""
    if not yes:
        click.confirm(f"End operation {operation_id}?", abort=True)
    with unit_of_work(system=True) as work:
        ended, changes = operations.end(work.session, operation_id, actor=SYSTEM, now=work.now)
        work.after_commit(lambda: events.publish(changes))
        work.after_commit(lambda: seals().discard(ended.id))
    row(f"Ended: {ended.error}")
