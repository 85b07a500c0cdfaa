"""Commands that say in one sentence, instead of a traceback, what is away and what to look at.

What they print was written by others, the external service among them: no text of theirs moves the cursor, hides, or
begins a row. Whatever a command prints goes through `print_row`, `print_indented` or `print_json_line`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import Any

import click
import pydantic_core
from flask.cli import AppGroup
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import errors
from app.domain import texts
from app.outbound.broker import BrokerError

# What each server's client raises when it is away. The broker's lets some through that the others wrap; a pipe that is
# broken is the reader's of what is printed.
SERVER_UNAVAILABLE_ERRORS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((OperationalError, InterfaceError, PoolTimeout), "The database", "DATABASE_URL"),
    ((RedisError,), "Redis", "REDIS_URL"),
    ((*BrokerError, ConnectionRefusedError, ConnectionResetError, TimeoutError), "The broker", "RABBITMQ_URL"),
)


def print_row(*cells: object, widths: Sequence[int] = (), err: bool = False) -> None:
    """Print one line of a table; `widths` are those of its first cells."""
    shown = [texts.escape_for_terminal(str(cell)) for cell in cells]
    padded = [f"{cell:<{width}}" for cell, width in zip_longest(shown, widths[: len(shown)], fillvalue=0)]
    click.echo("  ".join(padded).rstrip(), err=err)


def print_indented(text: str, *, indent: str = "    ") -> None:
    """Print a text of several lines, each of them set in, so that none can be taken for a row."""
    for line in text.splitlines() or [""]:
        click.echo(f"{indent}{texts.escape_for_terminal(line)}")


def print_json_line(json_object: Any) -> None:
    """Print one JSON object in one line, for programs: in ASCII, so that a terminal obeys nothing in it either."""
    shown = pydantic_core.to_jsonable_python(_without_half_pairs(json_object), bytes_mode="base64", fallback=str)
    click.echo(json.dumps(shown))


def _without_half_pairs(value: Any) -> Any:
    """Return a value whose texts are all Unicode: half a surrogate pair, as a header may have, is U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_without_half_pairs(key): _without_half_pairs(inner) for key, inner in value.items()}
    return [*map(_without_half_pairs, value)] if isinstance(value, list | tuple) else value


@contextmanager
def errors_as_one_sentence(*, setting_name: str | None = None) -> Iterator[None]:
    """End the command with one sentence where a server is away or something is refused.

    `setting_name` is that of the server.
    """
    try:
        yield
    except errors.AppError as refusal:
        raise click.ClickException(texts.escape_for_terminal(refusal.message)) from None
    except tuple(kind for kinds, _, _ in SERVER_UNAVAILABLE_ERRORS for kind in kinds) as problem:
        what, usual = next(row[1:] for row in SERVER_UNAVAILABLE_ERRORS if isinstance(problem, row[0]))
        name = type(getattr(problem, "orig", None) or problem).__name__
        look = f"look at {setting_name or usual}, the server and its log"
        advice = f"{look}, or have `flask --app app doctor` look at everything"
        raise click.ClickException(f"{what} does not answer ({name}): {advice}") from None


# What each of them ends with.
EXIT_CODES_HELP = (
    "Exit code: 0 when it is done, 1 when it is refused or a server does not answer (one sentence says which), 2 when "
    "the command line is wrong."
)


# Of commands that handle or show several of something.
limit_option = partial(click.option, "--limit", type=click.IntRange(min=1), show_default=True)


class OperatorCommand(click.Command):
    """A command that ends plainly."""

    def __init__(self, name: str | None, **options: Any) -> None:
        super().__init__(name, **({"epilog": EXIT_CODES_HELP} | options))

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with errors_as_one_sentence():
            return super().invoke(ctx)


class OperatorCommandGroup(AppGroup):
    """Commands that end plainly."""

    command_class = OperatorCommand
