"""What can be expected to go wrong, as exceptions that carry their HTTP status and stable code."""

from __future__ import annotations

from typing import Any, ClassVar

# Of what a request calls a type, in the answer.
MAX_TYPE_NAME_LENGTH = 100


class AppError(Exception):
    """An expected failure: answered as it is, never logged as a bug.

    `title` is the answer's short `error`, the exception's text its `message` (what to do), `details` its further keys.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "Bad request"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidType(AppError):
    """The request names a data source type that this installation does not offer."""

    status, code, title = 400, "invalid_type", "Invalid data source type"

    def __init__(self, name: str, *, allowed: list[str]) -> None:
        super().__init__(f"Type '{name[:MAX_TYPE_NAME_LENGTH]}' is not supported", allowed_types=allowed)


class MalformedJson(AppError):
    """The body is not JSON at all."""

    status, code, title = 400, "malformed_json", "Malformed JSON"


class MalformedBody(AppError):
    """The body ends early, or the frames of its transfer are wrong."""

    status, code, title = 400, "malformed_body", "Malformed body"


class InvalidParameter(AppError):
    """A query parameter has a value that it cannot have; `allowed` in the answer lists those it can."""

    status, code, title = 400, "invalid_parameter", "Invalid parameter"


class InvalidPage(AppError):
    """There is no such page of a list."""

    status, code, title = 400, "invalid_page", "Invalid page"


class InvalidIdempotencyKey(AppError):
    """The key that should tell a repeated request from a new one cannot be one."""

    status, code, title = 400, "invalid_idempotency_key", "Invalid idempotency key"


class Unauthorized(AppError):
    """The request does not say who makes it."""

    status, code, title = 401, "unauthorized", "Not signed in"


class InvalidToken(Unauthorized):
    """The token is not one that this installation accepts."""

    code, title = "invalid_token", "Invalid token"


class TokenExpired(Unauthorized):
    """The token was good once."""

    code, title = "token_expired", "Token expired"


class InvalidTicket(Unauthorized):
    """The ticket is unknown, used or too old."""

    code, title = "invalid_ticket", "Invalid ticket"


class AdminRequired(AppError):
    """Only an administrator or owner of the organization may do this."""

    status, code, title = 403, "admin_required", "Administrator required"


class SeededConnection(AdminRequired):
    """A member tried to delete a connection that every organization has."""

    code, title = "seeded_connection", "Cannot be deleted"


class NotFound(AppError):
    """No such connection in the caller's organization."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(AppError):
    """The request is fine, the state of the connection is not."""

    status, code, title = 409, "conflict", "Conflict"


class ConnectionDisabled(Conflict):
    """A disabled connection is not synced."""

    code, title = "connection_disabled", "Connection disabled"


class NotConfigured(Conflict):
    """The type needs credentials and none were ever verified with success."""

    code, title = "not_configured", "Not configured"


class OperationInProgress(Conflict):
    """Another operation already runs on this connection; `operation` in the answer names it."""

    code, title = "operation_in_progress", "Operation in progress"


class VerificationInProgress(OperationInProgress):
    """The credentials of this connection are being verified."""

    code, title = "verification_in_progress", "Verification in progress"


class SyncInProgress(OperationInProgress):
    """This connection is being synced."""

    code, title = "sync_in_progress", "Sync in progress"


class ChangedMeanwhile(AppError):
    """Somebody else has configured this connection since the version that `If-Match` names."""

    status, code, title = 412, "changed_meanwhile", "Changed meanwhile"


class OperationEnded(Conflict):
    """The operation has ended already; `operation` in the answer says how."""

    code, title = "operation_ended", "Operation ended"


class CannotDelete(Conflict):
    """Seeded connections stay; they are disabled instead."""

    code, title = "cannot_delete_seeded", "Cannot be deleted"


class AlreadyExists(Conflict):
    """An organization has one connection of each type."""

    code, title = "already_exists", "Already exists"


class PayloadTooLarge(AppError):
    """The body is larger than any that this API has a use for."""

    status, code, title = 413, "payload_too_large", "Payload too large"


class UnsupportedMediaType(AppError):
    """The body is not declared as JSON."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class Invalid(AppError):
    """The body is JSON of the wrong shape; `errors` in the answer lists each field and what is wrong with it."""

    status, code, title = 422, "validation_error", "Invalid request"


class SecretRefused(Invalid):
    """Credentials belong into verify, which stores nothing, and nowhere else."""

    code, title = "secret_refused", "Secret refused"


class RateLimited(AppError):
    """The organization has asked too often; `retry_after` seconds from now it may again."""

    status, code, title = 429, "rate_limited", "Too many requests"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class CreationUnavailable(AppError):
    """No type is turned on whose connections could be created."""

    status, code, title = 501, "creation_unavailable", "Not available"


class ServiceUnavailable(AppError):
    """Something that this request cannot do without does not answer; nothing was changed."""

    status, code, title = 503, "service_unavailable", "Service unavailable"
