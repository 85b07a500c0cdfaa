"""What has happened: operations and the audit trail, and an end for an operation that somebody has given up on."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, request

from app import errors
from app.api import auth, rate_limits, read_limits, representations, request_parameters, responses
from app.api.data_sources import CONNECTION_PATH, parse_connection_id, parse_uuid
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response
from app.outbound import events
from app.outbound.credential_store import current_credential_store
from app.services import history, operations
from app.unit_of_work import unit_of_work

OPENAPI_TAG = "History"
OPERATION_PATH = "/operations/<operation_id>"

blueprint = Blueprint("history", __name__, url_prefix="/api")
blueprint.before_request(auth.authenticate_request)


@blueprint.get(f"/data-sources{CONNECTION_PATH}/operations")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.ManyOperations,
    parameter_docs=request_parameters.paging_docs,
    possible_errors=(errors.NotFound, errors.InvalidPage, errors.RateLimited),
    operation_id_pointer="/data/0/id",
)
@read_limits.limit_concurrent_reads
def list_operations(connection_id: str) -> Response:
    """List a connection's operations, newest first."""
    wanted, (before, limit) = parse_connection_id(connection_id), _parse_page_parameters()
    with unit_of_work(tenant_ids=[auth.current_identity().organization_id]) as work:
        found = history.list_operations_page(work.session, wanted, before_id=before, limit=limit)
    data = [representations.OperationDetail.model_validate(operation) for operation in found.rows]
    return json_response(responses.ManyOperations(data=data, next=found.next_before_id))


@blueprint.get(f"/data-sources{CONNECTION_PATH}/audit")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.ManyAuditEntries,
    parameter_docs=request_parameters.paging_docs,
    possible_errors=(errors.NotFound, errors.InvalidPage, errors.RateLimited),
)
@read_limits.limit_concurrent_reads
def list_audit(connection_id: str) -> Response:
    """List who changed what on a connection, newest first."""
    wanted, (before, limit) = parse_connection_id(connection_id), _parse_page_parameters()
    organization_id = auth.current_identity().organization_id
    with unit_of_work(tenant_ids=[organization_id]) as work:
        found = history.list_audit_page(work.session, organization_id, wanted, before_id=before, limit=limit)
    data = [representations.AuditEntry.model_validate(entry) for entry in found.rows]
    return json_response(responses.ManyAuditEntries(data=data, next=found.next_before_id))


@blueprint.get(OPERATION_PATH)
@EndpointDocs(
    tag=OPENAPI_TAG, response_model=responses.OneOperation, possible_errors=(errors.NotFound, errors.RateLimited)
)
@read_limits.limit_concurrent_reads
def show_operation(operation_id: str) -> Response:
    """Show one operation."""
    wanted = _parse_operation_id(operation_id)
    with unit_of_work(tenant_ids=[auth.current_identity().organization_id]) as work:
        found = history.get_operation(work.session, wanted)
    return json_response(responses.OneOperation(data=representations.OperationDetail.model_validate(found)))


@blueprint.post(f"{OPERATION_PATH}/end")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.OneOperation,
    possible_errors=(errors.NotFound, errors.AdminRequired, errors.OperationEnded, errors.RateLimited),
)
def end_operation(operation_id: str) -> Response:
    """End an operation that nobody expects an answer to any more; an answer that still comes is taken all the same."""
    rate_limits.count_change_request()
    wanted = _parse_operation_id(operation_id)
    who = auth.current_identity()
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        if not who.is_admin:
            # Of another organization's, a member hears what an admin hears: it does not exist.
            history.get_operation(work.session, wanted)
        auth.require_admin("Only an admin or owner of your organization may end an operation")
        ended, changes = operations.end_operation(work.session, wanted, actor=who.audit_actor, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
        work.after_commit(lambda: current_credential_store().delete(ended.id))
    return json_response(responses.OneOperation(data=representations.OperationDetail.model_validate(ended)))


def _parse_operation_id(text: str) -> UUID:
    wanted = parse_uuid(text)
    if wanted is None:
        raise errors.NotFound("Your organization has no such operation")
    return wanted


def _parse_page_parameters() -> tuple[UUID | None, int]:
    """Return where the page begins and how long it may be. Raises InvalidPage."""
    given = request.args.get("before")
    before = None if given is None else parse_uuid(given)
    if given is not None and before is None:
        raise errors.InvalidPage("before must be the next of another page")
    limit = request_parameters.parse_number(request.args.get("limit", str(request_parameters.DEFAULT_PAGE_SIZE)))
    if limit is None or not 1 <= limit <= request_parameters.MAX_PAGE_SIZE:
        raise errors.InvalidPage(f"limit must be a number from 1 to {request_parameters.MAX_PAGE_SIZE}")
    return before, limit
