"""The two requests that ask something of the external service: verify and sync."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import structlog
from flask import Blueprint, Response, current_app, request
from redis.exceptions import RedisError

from app import errors, extensions, tracing
from app.api import answers, auth, limits, parameters, schemas
from app.api.data_sources import ONE, connection_uuid
from app.api.description import Described
from app.api.requests import answer, body
from app.domain import ids, lifecycle
from app.jobs import Jobs
from app.outbound import events
from app.outbound.sealing import seals
from app.services import operations
from app.unit_of_work import UnitOfWork, database_time, unit_of_work

log = structlog.get_logger()

TAG = "Operations"
IN_THE_WAY = (errors.VerificationInProgress, errors.SyncInProgress)

blueprint = Blueprint("operations", __name__, url_prefix="/api/data-sources")
blueprint.before_request(auth.authenticate)


@blueprint.post(f"{ONE}/verify")
@Described(
    tag=TAG,
    gives=answers.Verifying,
    takes=schemas.VerifyBody,
    operation_at="/operation_id",
    refuses=(errors.NotFound, errors.RateLimited, *IN_THE_WAY),
)
def verify(connection_id: str) -> Response:
    """Ask the external service whether these credentials are good. Nothing of the body is stored."""
    operation_id = ids.made_at(database_time())
    tracing.name_operation(operation_id)
    limits.spend("verify", limit=extensions.settings().verify_rate_limit)
    wanted = connection_uuid(connection_id)
    sent = body(schemas.VerifyBody)
    who, patience = auth.current(), extensions.settings().patience
    _bind(connection_id=wanted, operation_id=operation_id)
    _park(operation_id, wanted, sent, patience=patience)
    opened = None
    try:
        with unit_of_work(tenants=[who.organization_id]) as work:
            opened = operations.open_verify(
                work.session,
                wanted,
                operation_id=operation_id,
                with_credentials=bool(sent.credentials),
                patience=patience,
                actor=who.actor,
                now=work.now,
            )
            _promise(work, opened)
    finally:
        # Whatever went wrong. A commit that fails is another thing: it may have come through, and they are wanted.
        if opened is None:
            seals().discard(operation_id)
    return answer(answers.Verifying.of(opened.operation))


@blueprint.post(f"{ONE}/sync")
@Described(
    tag=TAG,
    gives=answers.Syncing,
    takes=schemas.SyncBody,
    body_required=False,
    operation_at="/data/operation_id",
    parameters=parameters.idempotency_key,
    refuses=(
        errors.NotFound,
        errors.InvalidIdempotencyKey,
        errors.RateLimited,
        errors.ConnectionDisabled,
        errors.NotConfigured,
        *IN_THE_WAY,
    ),
)
def sync(connection_id: str) -> Response:
    """Ask the external service to sync; `force` takes the place of what runs."""
    operation_id = ids.made_at(database_time())
    if "Idempotency-Key" not in request.headers:
        # With a key it may turn out to be an earlier one.
        tracing.name_operation(operation_id)
    limits.spend("sync", limit=extensions.settings().sync_rate_limit)
    wanted = connection_uuid(connection_id)
    sent, key = body(schemas.SyncBody, optional=True), _idempotency_key()
    who = auth.current()
    _bind(connection_id=wanted)
    with unit_of_work(tenants=[who.organization_id]) as work:
        opened = operations.open_sync(
            work.session,
            wanted,
            operation_id=operation_id,
            force=sent.force,
            idempotency_key=key,
            patience=extensions.settings().patience,
            actor=who.actor,
            now=work.now,
        )
        _promise(work, opened)
    _bind(operation_id=opened.operation.id)
    return answer(answers.Syncing.of(opened.operation))


def _idempotency_key() -> str | None:
    """Return the key that tells a repeated request from a new one. Raises InvalidIdempotencyKey."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not parameters.IDEMPOTENCY_KEY.fullmatch(key):
        raise errors.InvalidIdempotencyKey("Idempotency-Key must be 1 to 255 printable ASCII characters without spaces")
    return key


def _bind(**ids: UUID) -> None:
    structlog.contextvars.bind_contextvars(**{name: str(value) for name, value in ids.items()})


def _promise(work: UnitOfWork, opened: operations.Opened) -> None:
    """After the commit: the event, the end of credentials that nobody wants any more, and the webhook's job.

    The event goes first: a broker that is away holds the job up for seconds, in which others may deliver the operation
    and tell its end, and a page that is told of the request after that would show it as running for ever.
    """
    jobs = cast(Jobs, current_app.extensions["jobs"])
    tracing.name_operation(opened.operation.id)
    tracing.lead_to(opened.operation.id)
    work.after_commit(lambda: events.publish(opened.changes))
    work.after_commit(lambda: seals().discard(*opened.replaced))
    work.after_commit(lambda: jobs.deliver_webhook(opened.operation.delivery))


def _park(operation_id: UUID, connection_id: UUID, sent: schemas.VerifyBody, *, patience: lifecycle.Patience) -> None:
    try:
        seals().park(
            operation_id,
            {"credentials": sent.credentials, "settings": sent.settings},
            organization_id=auth.current().organization_id,
            connection_id=connection_id,
            ttl=patience.verify,
        )
    except RedisError as problem:
        log.warning("credentials_not_parked", error=type(problem).__name__)
        raise errors.ServiceUnavailable(
            "Credentials cannot be taken right now; nothing was changed, try again"
        ) from None
