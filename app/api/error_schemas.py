"""The one shape of every error, and what each error of `app/errors.py` adds to it, as models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

from app import errors


class ErrorBody(BaseModel):
    """An error: a short title, what to do about it, a stable code, and the id that finds the request in the logs."""

    model_config = ConfigDict(extra="allow", json_schema_serialization_defaults_required=True, defer_build=True)

    error: str
    message: str
    code: str
    request_id: str = Field(examples=["0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b"])


class InternalError(ErrorBody):
    """A fault on our side; it is logged with all its detail."""

    error: Literal["Internal error"] = "Internal error"
    message: str = "Something went wrong on our side; the request id finds it in our logs"
    code: Literal["internal_error"] = "internal_error"


class FieldProblem(BaseModel):
    """One field of a body and what is wrong with it."""

    field: str = Field(examples=["config.spaces"])
    message: str = Field(examples=["Input should be a valid string"])


class RunningOperation(BaseModel):
    """The operation that is in the way."""

    id: UUID
    kind: Literal["verify", "sync"]
    state: str = Field(examples=["delivered"])
    requested_at: datetime


class EndedOperation(BaseModel):
    """The operation and how it ended."""

    id: UUID
    state: str = Field(examples=["succeeded"])


# What these errors, and those derived from them, say besides.
DETAIL_FIELDS_BY_ERROR: dict[type[errors.AppError], dict[str, Any]] = {
    errors.InvalidType: {"allowed_types": Annotated[list[str], Field(examples=[["confluence", "websearch"]])]},
    errors.InvalidParameter: {"allowed": Annotated[list[str], Field(examples=[["true", "false"]])]},
    errors.Invalid: {"errors": list[FieldProblem]},
    errors.RateLimited: {"retry_after": Annotated[int, Field(description="In seconds; also the header.", ge=1)]},
    errors.ChangedMeanwhile: {"version": str},
    errors.OperationEnded: {"operation": EndedOperation},
    errors.OperationInProgress: {"operation": RunningOperation},
}


def _create_error_model(error: type[errors.AppError]) -> type[ErrorBody]:
    details = {name: kind for cls in error.__mro__ for name, kind in DETAIL_FIELDS_BY_ERROR.get(cls, {}).items()}
    message = Annotated[str, Field(description="What to do about it.", examples=[error.__doc__])]
    fields = {"error": Literal[error.title], "code": Literal[error.code], "message": message, **details}
    return create_model(f"{error.__name__}Error", __base__=ErrorBody, __doc__=error.__doc__, **fields)


def _error_and_subclasses(error: type[errors.AppError]) -> Iterator[type[errors.AppError]]:
    yield error
    for child in error.__subclasses__():
        yield from _error_and_subclasses(child)


@cache
def error_models() -> dict[type[errors.AppError], type[ErrorBody]]:
    """Return the model of each error's answer."""
    return {error: _create_error_model(error) for error in _error_and_subclasses(errors.AppError)}
