"""`flask --app app dead-letters …`: status messages that could not be applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app import extensions
from app.cli.plainly import Group, block, record, row
from app.domain import texts
from app.domain.texts import counted
from app.outbound import broker
from app.outbound.dead_letters import DeadLetterQueue

group = Group("dead-letters", help="Status messages that could not be applied: list, show, replay, drop.")

# What one command handles unless told otherwise.
LIMIT = 1_000
# As much of a body as a list shows.
GLANCE = 200
# What there is to say of a letter, beside what the service sent.
SHOWN = ("died_at", "reason", "detail", "queue", "content_type")

_limit = click.option(
    "--limit",
    default=LIMIT,
    show_default=True,
    type=click.IntRange(min=1),
    help="At most so many letters, oldest first.",
)


@contextmanager
def _queue() -> Iterator[DeadLetterQueue]:
    with broker.connected(extensions.settings().rabbitmq_url) as connection:
        yield DeadLetterQueue(connection)


@group.command("list")
@_limit
@click.option("--json", "as_json", is_flag=True, help="Print each letter as one line of JSON, whole.")
def list_letters(limit: int, *, as_json: bool) -> None:
    """Show the dead letters, oldest first, and leave them in the queue."""
    with _queue() as queue:
        letters = queue.look(limit=limit)
    for letter in letters:
        body = letter.body.decode(errors="replace")
        if as_json:
            record({name: getattr(letter, name) for name in SHOWN} | {"headers": letter.headers, "body": body})
        else:
            row(letter.died_at, letter.reason, letter.detail, widths=(25, 19))
            row("  ", texts.cut(body, longest=GLANCE))
    if not as_json:
        row(counted(len(letters), "dead letter"))


@group.command()
@click.argument("number", type=click.IntRange(min=1))
def show(number: int) -> None:
    """Show one dead letter whole: NUMBER is its place in the list, counted from 1."""
    with _queue() as queue:
        letters = queue.look(limit=number)
    if len(letters) < number:
        raise click.ClickException(f"The list has {counted(len(letters), 'dead letter')}")
    letter = letters[-1]
    for name in SHOWN:
        row(name, getattr(letter, name), widths=(12,))
    for name, value in letter.headers.items():
        row("header", f"{name}: {value}", widths=(12,))
    row()
    block(letter.body.decode(errors="replace"))


@group.command()
@_limit
def replay(limit: int) -> None:
    """Put the dead letters back on the queue that they came from; what still cannot be applied returns here."""
    with _queue() as queue:
        replayed = queue.replay(limit=limit, default_queue=extensions.settings().status_queues[0])
    row(f"Replayed {counted(replayed.count, 'dead letter')}")
    for name, count in replayed.homeless.items():
        row(f"{count} stay: there is no queue {name!r} to put them back on", err=True)


@group.command()
@_limit
@click.option("--yes", is_flag=True, help="Drop them without asking first.")
def drop(limit: int, *, yes: bool) -> None:
    """Delete the dead letters for good."""
    if not yes:
        click.confirm(f"Delete up to {counted(limit, 'dead letter')} for good?", abort=True)
    with _queue() as queue:
        count = queue.drop(limit=limit)
    row(f"Dropped {counted(count, 'dead letter')}")
