"""Commands that say in one sentence, instead of a traceback, what is away and what to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import errors
from app.outbound.broker import BrokerError

# What each server's client raises when it is away. The broker's lets some through that the others wrap; a pipe that is
# broken is the reader's of what is printed.
AWAY: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((OperationalError, InterfaceError, PoolTimeout), "The database", "DATABASE_URL"),
    ((RedisError,), "Redis", "REDIS_URL"),
    ((*BrokerError, ConnectionRefusedError, ConnectionResetError, TimeoutError), "The broker", "RABBITMQ_URL"),
)


@contextmanager
def plainly(*, setting: str | None = None) -> Iterator[None]:
    """End the command with one sentence where a server is away or something is refused; `setting` named the server."""
    try:
        yield
    except errors.AppError as refusal:
        raise click.ClickException(refusal.message) from None
    except tuple(kind for kinds, _, _ in AWAY for kind in kinds) as problem:
        what, usual = next((what, usual) for kinds, what, usual in AWAY if isinstance(problem, kinds))
        name = type(getattr(problem, "orig", None) or problem).__name__
        raise click.ClickException(
            f"{what} does not answer ({name}): look at {setting or usual}, the server and its log, "
            "or have `flask --app app doctor` look at everything"
        ) from None


class Command(click.Command):
    """A command that ends plainly."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with plainly():
            return super().invoke(ctx)


class Group(AppGroup):
    """Commands that end plainly."""

    command_class = Command
