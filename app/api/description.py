"""What an endpoint says of itself. It stands above the view, so that one is not changed without the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response
from pydantic import BaseModel

from app import errors
from app.api.parameters import Parameter

View = Callable[..., Response]

# What any body can be refused for, and any request that must say who makes it.
OF_A_BODY = (
    errors.UnsupportedMediaType, errors.MalformedBody, errors.MalformedJson, errors.PayloadTooLarge, errors.Invalid,
)  # fmt: skip
OF_A_TOKEN = (errors.Unauthorized, errors.InvalidToken, errors.TokenExpired, errors.ServiceUnavailable)

_descriptions: dict[View, Described] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A decorator: what path, methods, docstring and `takes` do not tell of an endpoint. `openapi.py` collects it.

    `gives` is the model of its JSON, or an example of another `media_type`. `refuses` are the errors of its own,
    `unavailable` what it says instead of an error with 503. `security` names the schemes any one of which will do.
    `connection_at` is the JSON pointer of a connection's id in the answer, and `operation_at` of an operation's: every
    call on that connection or operation can follow.
    """

    tag: str
    gives: type[BaseModel] | str
    status: int = 200
    media_type: str = "application/json"
    takes: type[BaseModel] | None = None
    body_required: bool = True
    parameters: Callable[[], Sequence[Parameter]] = tuple
    refuses: tuple[type[errors.AppError], ...] = ()
    unavailable: type[BaseModel] | None = None
    security: tuple[str, ...] = ("bearer",)
    connection_at: str | None = None
    operation_at: str | None = None

    def __call__(self, view: View) -> View:
        """Describe a view."""
        _descriptions[view] = self
        return view

    @property
    def ids_at(self) -> dict[str, str]:
        """Return where the answer holds what the paths of other calls ask for, by the name that it has there."""
        pointers = {"connection_id": self.connection_at, "operation_id": self.operation_at}
        return {name: pointer for name, pointer in pointers.items() if pointer is not None}

    @property
    def errors(self) -> list[type[errors.AppError]]:
        """Every error to expect."""
        of_its_token = OF_A_TOKEN if self.security else ()
        of_its_body = OF_A_BODY if self.takes else ()
        return [*of_its_token, *of_its_body, *self.refuses]


def of(view: Callable[..., Any]) -> Described | None:
    """Return what a view says of itself."""
    return _descriptions.get(view)
