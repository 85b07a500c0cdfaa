"""The two requests that ask something of the external service: verify and sync."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import structlog
from flask import Blueprint, Response, current_app, request
from redis.exceptions import RedisError

from app import errors, extensions, tracing
from app.api import auth, rate_limits, read_limits, request_bodies, request_parameters, responses
from app.api.data_sources import CONNECTION_PATH, parse_connection_id
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response, parse_json_body
from app.domain import ids, lifecycle
from app.jobs import JobSender
from app.outbound import events
from app.outbound.credential_store import current_credential_store
from app.services import operations
from app.unit_of_work import UnitOfWork, database_time, unit_of_work

log = structlog.get_logger()

OPENAPI_TAG = "Operations"
OPERATION_IN_PROGRESS_ERRORS = (errors.VerificationInProgress, errors.SyncInProgress)

blueprint = Blueprint("operations", __name__, url_prefix="/api/data-sources")
blueprint.before_request(auth.authenticate_request)


@blueprint.post(f"{CONNECTION_PATH}/verify")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.Verifying,
    request_model=request_bodies.VerifyBody,
    operation_id_pointer="/operation_id",
    possible_errors=(errors.NotFound, errors.RateLimited, *OPERATION_IN_PROGRESS_ERRORS),
)
def verify(connection_id: str) -> Response:
    """Ask the external service whether these credentials are good. Nothing of the body is stored."""
    operation_id = ids.new_id_at(database_time())
    tracing.set_operation_id_on_current_span(operation_id)
    rate_limits.count_request("verify", limit=extensions.settings().verify_rate_limit)
    wanted = parse_connection_id(connection_id)
    request_body = parse_json_body(request_bodies.VerifyBody)
    who, deadlines = auth.current_identity(), extensions.settings().deadlines
    _bind_ids_to_log(connection_id=wanted, operation_id=operation_id)
    _store_credentials(operation_id, wanted, request_body, deadlines=deadlines)
    opened = None
    try:
        with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
            opened = operations.open_verification(
                work.session,
                wanted,
                operation_id=operation_id,
                has_credentials=bool(request_body.credentials),
                deadlines=deadlines,
                actor=who.audit_actor,
                now=work.now,
            )
            _register_after_commit_hooks(work, opened)
    finally:
        # Whatever went wrong. A commit that fails is another thing: it may have come through, and they are wanted.
        if opened is None:
            current_credential_store().delete(operation_id)
    return json_response(responses.Verifying.from_operation(opened.operation))


@blueprint.post(f"{CONNECTION_PATH}/sync")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.Syncing,
    request_model=request_bodies.SyncBody,
    body_required=False,
    operation_id_pointer="/data/operation_id",
    parameter_docs=request_parameters.idempotency_key_docs,
    possible_errors=(
        errors.NotFound,
        errors.InvalidIdempotencyKey,
        errors.RateLimited,
        errors.ConnectionDisabled,
        errors.NotConfigured,
        *OPERATION_IN_PROGRESS_ERRORS,
    ),
)
def sync(connection_id: str) -> Response:
    """Ask the external service to sync; `force` takes the place of what runs."""
    operation_id = ids.new_id_at(database_time())
    if "Idempotency-Key" not in request.headers:
        # With a key it may turn out to be an earlier one.
        tracing.set_operation_id_on_current_span(operation_id)
    rate_limits.count_request("sync", limit=extensions.settings().sync_rate_limit)
    wanted = parse_connection_id(connection_id)
    request_body, key = parse_json_body(request_bodies.SyncBody, optional=True), _parse_idempotency_key()
    who = auth.current_identity()
    _bind_ids_to_log(connection_id=wanted)
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        opened = operations.open_sync(
            work.session,
            wanted,
            operation_id=operation_id,
            replace_running=request_body.force,
            idempotency_key=key,
            deadlines=extensions.settings().deadlines,
            actor=who.audit_actor,
            now=work.now,
        )
        _register_after_commit_hooks(work, opened)
    _bind_ids_to_log(operation_id=opened.operation.id)
    return json_response(responses.Syncing.from_operation(opened.operation))


def _parse_idempotency_key() -> str | None:
    """Return the key that tells a repeated request from a new one. Raises InvalidIdempotencyKey."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not request_parameters.IDEMPOTENCY_KEY_PATTERN.fullmatch(key):
        raise errors.InvalidIdempotencyKey("Idempotency-Key must be 1 to 255 printable ASCII characters without spaces")
    return key


def _bind_ids_to_log(**ids: UUID) -> None:
    structlog.contextvars.bind_contextvars(**{name: str(value) for name, value in ids.items()})


def _register_after_commit_hooks(work: UnitOfWork, opened: operations.OpenedOperation) -> None:
    """After the commit: the event, the end of credentials that nobody wants any more, and the webhook's job.

    The event goes first: a broker that is away holds the job up for seconds, in which others may deliver the operation
    and tell its end, and a page that is told of the request after that would show it as running for ever.
    """
    jobs = cast(JobSender, current_app.extensions["job_sender"])
    tracing.set_operation_id_on_current_span(opened.operation.id)
    tracing.link_current_span_to_operations(opened.operation.id)
    work.after_commit(lambda: events.publish_changes(opened.changes))
    work.after_commit(lambda: current_credential_store().delete(*opened.replaced_ids))
    work.after_commit(lambda: jobs.send_delivery_job(opened.operation.delivery_job))


def _store_credentials(
    operation_id: UUID, connection_id: UUID, request_body: request_bodies.VerifyBody, *, deadlines: lifecycle.Deadlines
) -> None:
    content = {"credentials": request_body.credentials, "settings": request_body.settings}
    whose = {"organization_id": auth.current_identity().organization_id, "connection_id": connection_id}
    try:
        current_credential_store().store(operation_id, content, **whose, ttl=deadlines.verification)
    except RedisError as problem:
        log.warning("credentials_not_parked", error=type(problem).__name__)
        message = "Credentials cannot be taken right now; nothing was changed, try again"
        raise errors.ServiceUnavailable(message) from None
