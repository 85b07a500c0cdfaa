"""`flask --app app dead-letters …`: status messages that could not be applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app import extensions
from app.cli.output import OperatorCommandGroup, limit_option, print_indented, print_json_line, print_row
from app.domain import texts
from app.domain.texts import count_with_noun
from app.outbound import broker
from app.outbound.dead_letters import DeadLetterQueue

_HELP = "Status messages that could not be applied: list, show, replay, drop."
dead_letters_group = OperatorCommandGroup("dead-letters", help=_HELP)

# What one command handles unless told otherwise.
DEFAULT_LIMIT = 1_000
# As much of a body as a list shows.
BODY_PREVIEW_LENGTH = 200
# What there is to say of a letter, beside what the service sent.
SHOWN_FIELDS = ("died_at", "reason", "detail", "queue", "content_type")

_limit_option = limit_option(default=DEFAULT_LIMIT, help="At most so many letters, oldest first.")


@contextmanager
def _open_dead_letter_queue() -> Iterator[DeadLetterQueue]:
    with broker.open_confirmed_connection(extensions.settings().rabbitmq_url) as connection:
        yield DeadLetterQueue(connection)


@dead_letters_group.command("list")
@_limit_option
@click.option("--json", "as_json", is_flag=True, help="Print each letter as one line of JSON, whole.")
def list_letters(limit: int, *, as_json: bool) -> None:
    """Show the dead letters, oldest first, and leave them in the queue."""
    with _open_dead_letter_queue() as queue:
        letters = queue.list_oldest(limit=limit)
    for letter in letters:
        body = letter.body.decode(errors="replace")
        if as_json:
            shown = {name: getattr(letter, name) for name in SHOWN_FIELDS}
            print_json_line({**shown, "headers": letter.headers, "body": body})
        else:
            print_row(letter.died_at, letter.reason, letter.detail, widths=(25, 19))
            print_row("  ", texts.truncate(body, max_length=BODY_PREVIEW_LENGTH))
    if not as_json:
        print_row(count_with_noun(len(letters), "dead letter"))


@dead_letters_group.command()
@click.argument("number", type=click.IntRange(min=1))
def show(number: int) -> None:
    """Show one dead letter whole: NUMBER is its place in the list, counted from 1."""
    with _open_dead_letter_queue() as queue:
        letters = queue.list_oldest(limit=number)
    if len(letters) < number:
        raise click.ClickException(f"The list has {count_with_noun(len(letters), 'dead letter')}")
    letter = letters[-1]
    for name in SHOWN_FIELDS:
        print_row(name, getattr(letter, name), widths=(12,))
    for name, value in letter.headers.items():
        print_row("header", f"{name}: {value}", widths=(12,))
    print_row()
    print_indented(letter.body.decode(errors="replace"))


@dead_letters_group.command()
@_limit_option
def replay(limit: int) -> None:
    """Put the dead letters back on the queue that they came from; what still cannot be applied returns here."""
    with _open_dead_letter_queue() as queue:
        replayed = queue.replay(limit=limit, default_queue=extensions.settings().status_queues[0])
    print_row(f"Replayed {count_with_noun(replayed.count, 'dead letter')}")
    for name, count in replayed.unreplayed_by_missing_queue.items():
        print_row(f"{count} stay: there is no queue {name!r} to put them back on", err=True)


@dead_letters_group.command()
@_limit_option
@click.option("--yes", is_flag=True, help="Drop them without asking first.")
def drop(limit: int, *, yes: bool) -> None:
    """Delete the dead letters for good."""
    if not yes:
        click.confirm(f"Delete up to {count_with_noun(limit, 'dead letter')} for good?", abort=True)
    with _open_dead_letter_queue() as queue:
        count = queue.drop(limit=limit)
    print_row(f"Dropped {count_with_noun(count, 'dead letter')}")
