"""What has happened: operations and the audit trail, and an end for an operation that somebody has given up on."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, request

from app import errors
from app.api import answers, auth, limits, parameters, reading, views
from app.api.data_sources import ONE, as_uuid, connection_uuid
from app.api.description import Described
from app.api.requests import answer
from app.outbound import events
from app.outbound.sealing import seals
from app.services import history, operations
from app.unit_of_work import unit_of_work

TAG = "History"
ONE_OPERATION = "/operations/<operation_id>"

blueprint = Blueprint("history", __name__, url_prefix="/api")
blueprint.before_request(auth.authenticate)


@blueprint.get(f"/data-sources{ONE}/operations")
@Described(
    tag=TAG,
    gives=answers.ManyOperations,
    parameters=parameters.paging,
    refuses=(errors.NotFound, errors.InvalidPage, errors.RateLimited),
    operation_at="/data/0/id",
)
@reading.in_turn
def list_operations(connection_id: str) -> Response:
    """List a connection's operations, newest first."""
    wanted, (before, limit) = connection_uuid(connection_id), _page()
    with unit_of_work(tenants=[auth.current().organization_id]) as work:
        found = history.operations(work.session, wanted, before=before, limit=limit)
    data = [views.OperationDetail.model_validate(operation) for operation in found.rows]
    return answer(answers.ManyOperations(data=data, next=found.next))


@blueprint.get(f"/data-sources{ONE}/audit")
@Described(
    tag=TAG,
    gives=answers.ManyAuditEntries,
    parameters=parameters.paging,
    refuses=(errors.NotFound, errors.InvalidPage, errors.RateLimited),
)
@reading.in_turn
def list_audit(connection_id: str) -> Response:
    """List who changed what on a connection, newest first."""
    wanted, (before, limit) = connection_uuid(connection_id), _page()
    organization_id = auth.current().organization_id
    with unit_of_work(tenants=[organization_id]) as work:
        found = history.audit(work.session, organization_id, wanted, before=before, limit=limit)
    data = [views.AuditEntry.model_validate(entry) for entry in found.rows]
    return answer(answers.ManyAuditEntries(data=data, next=found.next))


@blueprint.get(ONE_OPERATION)
@Described(tag=TAG, gives=answers.OneOperation, refuses=(errors.NotFound, errors.RateLimited))
@reading.in_turn
def show_operation(operation_id: str) -> Response:
    """Show one operation."""
    wanted = _operation_uuid(operation_id)
    with unit_of_work(tenants=[auth.current().organization_id]) as work:
        found = history.operation(work.session, wanted)
    return answer(answers.OneOperation(data=views.OperationDetail.model_validate(found)))


@blueprint.post(f"{ONE_OPERATION}/end")
@Described(
    tag=TAG,
    gives=answers.OneOperation,
    refuses=(errors.NotFound, errors.AdminRequired, errors.OperationEnded, errors.RateLimited),
)
def end_operation(operation_id: str) -> Response:
    """End an operation that nobody expects an answer to any more; an answer that still comes is taken all the same."""
    limits.spend_change()
    wanted = _operation_uuid(operation_id)
    who = auth.current()
    with unit_of_work(tenants=[who.organization_id]) as work:
        if not who.is_admin:
            # Of another organization's, a member hears what an admin hears: it does not exist.
            history.operation(work.session, wanted)
        auth.require_admin("Only an admin or owner of your organization may end an operation")
        ended, changes = operations.end(work.session, wanted, actor=who.actor, now=work.now)
        work.after_commit(lambda: events.publish(changes))
        work.after_commit(lambda: seals().discard(ended.id))
    return answer(answers.OneOperation(data=views.OperationDetail.model_validate(ended)))


def _operation_uuid(text: str) -> UUID:
    wanted = as_uuid(text)
    if wanted is None:
        raise errors.NotFound("Your organization has no such operation")
    return wanted


def _page() -> tuple[UUID | None, int]:
    """Return where the page begins and how long it may be. Raises InvalidPage."""
    given = request.args.get("before")
    before = None if given is None else as_uuid(given)
    if given is not None and before is None:
        raise errors.InvalidPage("before must be the next of another page")
    limit = parameters.number(request.args.get("limit", str(parameters.PAGE)))
    if limit is None or not 1 <= limit <= parameters.LARGEST_PAGE:
        raise errors.InvalidPage(f"limit must be a number from 1 to {parameters.LARGEST_PAGE}")
    return before, limit
