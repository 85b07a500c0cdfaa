"""What an endpoint says of itself. It stands above the view, so that one is not changed without the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response
from pydantic import BaseModel

from app import errors
from app.api.request_parameters import ParameterDocs

ViewFunction = Callable[..., Response]

# What any body can be refused for, and any request that must say who makes it.
REQUEST_BODY_ERRORS = (
    errors.UnsupportedMediaType, errors.MalformedBody, errors.MalformedJson, errors.PayloadTooLarge, errors.Invalid,
)  # fmt: skip
TOKEN_ERRORS = (errors.Unauthorized, errors.InvalidToken, errors.TokenExpired, errors.ServiceUnavailable)

_docs_by_view: dict[ViewFunction, EndpointDocs] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDocs:
    """A decorator: what path, methods, docstring and `request_model` do not tell of an endpoint; see `openapi.py`.

    `response_model` is the model of its JSON, or an example of another `media_type`. `possible_errors` are the errors
    of its own, `unavailable_model` what it says instead of an error with 503. `security_schemes` names the schemes, any
    one of which will do. `connection_id_pointer` is the JSON pointer of a connection's id in the answer, and
    `operation_id_pointer` of an operation's: every call on that connection or operation can follow.
    """

    tag: str
    response_model: type[BaseModel] | str
    status: int = 200
    media_type: str = "application/json"
    request_model: type[BaseModel] | None = None
    body_required: bool = True
    parameter_docs: Callable[[], Sequence[ParameterDocs]] = tuple
    possible_errors: tuple[type[errors.AppError], ...] = ()
    unavailable_model: type[BaseModel] | None = None
    security_schemes: tuple[str, ...] = ("bearer",)
    connection_id_pointer: str | None = None
    operation_id_pointer: str | None = None

    def __call__(self, view: ViewFunction) -> ViewFunction:
        """Describe a view."""
        _docs_by_view[view] = self
        return view

    @property
    def id_pointers(self) -> dict[str, str]:
        """Return where the answer holds what the paths of other calls ask for, by the name that it has there."""
        pointers = {"connection_id": self.connection_id_pointer, "operation_id": self.operation_id_pointer}
        return {name: pointer for name, pointer in pointers.items() if pointer is not None}

    @property
    def all_errors(self) -> list[type[errors.AppError]]:
        """Every error to expect."""
        of_its_token = TOKEN_ERRORS if self.security_schemes else ()
        of_its_body = REQUEST_BODY_ERRORS if self.request_model else ()
        return [*of_its_token, *of_its_body, *self.possible_errors]


def docs_of_view(view: Callable[..., Any]) -> EndpointDocs | None:
    """Return what a view says of itself."""
    return _docs_by_view.get(view)
