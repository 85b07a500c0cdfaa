"""Connections: seed, list, read, configure, create, delete. CONTRACT's section 3, row by row."""

from __future__ import annotations

import re
from uuid import UUID

from flask import Blueprint, Response, request

from app import errors, extensions
from app.api import (
    auth,
    credential_scan,
    rate_limits,
    read_limits,
    representations,
    request_bodies,
    request_parameters,
    responses,
)
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response, parse_json_body
from app.domain import source_types
from app.domain.aggregate import ConnectionAggregate
from app.outbound import events
from app.outbound.credential_store import current_credential_store
from app.services import connections
from app.unit_of_work import UnitOfWork, unit_of_work

OPENAPI_TAG = "Connections"
# The path of one connection.
CONNECTION_PATH = "/<connection_id>"
# What any change of a connection can be refused for, beside the shape of its body.
CONFIGURATION_ERRORS = (errors.SecretRefused, errors.AdminRequired, errors.RateLimited)
DELETION_ERRORS = (
    errors.NotFound, errors.AdminRequired, errors.SeededConnection, errors.CannotDelete, errors.RateLimited,
)  # fmt: skip

# What proxies that compress put behind an answer's ETag: Apache and Caddy a hyphen, Jetty two. Others make it a weak
# one (`W/`); a version is of the connection, whatever the form of the answer that named it.
_ETAG_COMPRESSION_SUFFIX = re.compile(r"(--?|;)(gzip|br|zstd|deflate)$")

blueprint = Blueprint("data_sources", __name__, url_prefix="/api/data-sources")
blueprint.before_request(auth.authenticate_request)


@blueprint.post("/seed")
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.Seeded, possible_errors=(errors.RateLimited,))
def seed() -> Response:
    """Create the seeded connections that are missing."""
    rate_limits.count_change_request()
    who = auth.current_identity()
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        organization_id, actor = who.organization_id, who.audit_actor
        changes = connections.create_seeded_connections(work.session, organization_id, actor=actor, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
    created, existing = len(changes), len(source_types.SEEDED_TYPES) - len(changes)
    message = f"Created {created} new data sources, {existing} already existed"
    return json_response(responses.Seeded(created=created, existing=existing, message=message))


@blueprint.get("")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.ManyConnections,
    parameter_docs=request_parameters.filter_docs,
    possible_errors=(errors.InvalidParameter, errors.InvalidType, errors.RateLimited),
    connection_id_pointer="/data/0/id",
)
@read_limits.limit_concurrent_reads
def index() -> Response:
    """List the organization's connections that pass every filter."""
    who = auth.current_identity()
    filters = _parse_filters()
    enabled = None if filters["enabled"] is None else filters["enabled"] == "true"
    with unit_of_work(tenant_ids=[who.organization_id]) as work:
        aggregates = connections.list_connections(
            work.session, who.organization_id, status=filters["status"], type_name=filters["type"], enabled=enabled
        )
    shown = [representations.ConnectionView.from_aggregate(aggregate) for aggregate in aggregates]
    return json_response(responses.ManyConnections(data=shown))


@blueprint.post("")
@EndpointDocs(
    tag=OPENAPI_TAG,
    status=201,
    response_model=responses.OneConnection,
    request_model=request_bodies.CreateBody,
    possible_errors=(*CONFIGURATION_ERRORS, errors.InvalidType, errors.AlreadyExists, errors.CreationUnavailable),
    connection_id_pointer="/data/id",
)
def create() -> Response:
    """Create a connection of a type that is turned on, or restore the deleted one."""
    rate_limits.count_change_request()
    who = auth.current_identity()
    types = extensions.settings().source_types
    if not types.creatable_types:
        raise errors.CreationUnavailable("Every type on offer is created by seed; no other type is turned on")
    request_body = parse_json_body(request_bodies.CreateBody)
    source_type = types.require_offered_type(request_body.type)
    if source_type.name in source_types.SEEDED_TYPES:
        raise errors.AlreadyExists(f"Connections of type '{source_type.name}' are created by seed")
    fields = credential_scan.checked_fields(request_body)
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        _require_admin_to_disable(work, fields, connection_id=None)
        aggregate, changes = connections.create_connection(
            work.session, who.organization_id, source_type, fields=fields, actor=who.audit_actor, now=work.now
        )
        work.after_commit(lambda: events.publish_changes(changes))
        return _connection_response(aggregate, status=201)


@blueprint.get(CONNECTION_PATH)
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.OneConnection,
    possible_errors=(errors.NotFound, errors.RateLimited),
    connection_id_pointer="/data/id",
)
@read_limits.limit_concurrent_reads
def show(connection_id: str) -> Response:
    """Show one connection."""
    wanted = parse_connection_id(connection_id)
    with unit_of_work(tenant_ids=[auth.current_identity().organization_id]) as work:
        aggregate = connections.get_connection(work.session, wanted)
    return _connection_response(aggregate)


@blueprint.put(CONNECTION_PATH)
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.OneConnection,
    request_model=request_bodies.ConfigureBody,
    parameter_docs=lambda: [*request_parameters.id_or_type_docs(), request_parameters.IF_MATCH_DOCS],
    possible_errors=(*CONFIGURATION_ERRORS, errors.NotFound, errors.InvalidType, errors.ChangedMeanwhile),
    connection_id_pointer="/data/id",
)
def configure(connection_id: str) -> Response:
    """Configure a connection by id, or a type's connection by the type's name, creating it if there is none."""
    rate_limits.count_change_request()
    wanted = parse_uuid(connection_id)
    source_type = None if wanted else extensions.settings().source_types.require_offered_type(connection_id)
    request_body = parse_json_body(request_bodies.ConfigureBody)
    fields = credential_scan.checked_fields(request_body) | {"enabled": request_body.enabled}
    if source_type is None:
        return _configure_by_id(parse_connection_id(connection_id), fields)
    who = auth.current_identity()
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        _require_admin_to_disable(work, fields, connection_id=None)
        aggregate, changes = connections.configure_connection_of_type(
            work.session,
            who.organization_id,
            source_type,
            fields=fields,
            check=_version_check_from_if_match(),
            actor=who.audit_actor,
            now=work.now,
        )
        work.after_commit(lambda: events.publish_changes(changes))
        return _connection_response(aggregate)


@blueprint.patch(CONNECTION_PATH)
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=responses.OneConnection,
    request_model=request_bodies.ConfigureBody,
    parameter_docs=lambda: [request_parameters.IF_MATCH_DOCS],
    possible_errors=(*CONFIGURATION_ERRORS, errors.NotFound, errors.ChangedMeanwhile),
    connection_id_pointer="/data/id",
)
def change(connection_id: str) -> Response:
    """Set any subset of the fields."""
    rate_limits.count_change_request()
    wanted = parse_connection_id(connection_id)
    return _configure_by_id(wanted, credential_scan.checked_fields(parse_json_body(request_bodies.ConfigureBody)))


def _configure_by_id(connection_id: UUID, fields: dict[str, object]) -> Response:
    who, check = auth.current_identity(), _version_check_from_if_match()
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        _require_admin_to_disable(work, fields, connection_id=connection_id)
        aggregate, changes = connections.configure_connection(
            work.session, connection_id, fields=fields, check=check, actor=who.audit_actor, now=work.now
        )
        work.after_commit(lambda: events.publish_changes(changes))
        return _connection_response(aggregate)


@blueprint.delete(CONNECTION_PATH)
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.OneDeleted, possible_errors=DELETION_ERRORS)
def delete(connection_id: str) -> Response:
    """Delete a connection of a type that is not seeded; the row stays, invisible, and can be restored."""
    rate_limits.count_change_request()
    wanted = parse_connection_id(connection_id)
    who = auth.current_identity()
    with unit_of_work(tenant_ids=[who.organization_id], limit=read_limits.limited_change()) as work:
        if not who.is_admin:
            _refuse_deletion_by_member(connections.get_connection(work.session, wanted))
        actor = who.audit_actor
        aggregate, abandoned, changes = connections.delete_connection(work.session, wanted, actor=actor, now=work.now)
        work.after_commit(lambda: events.publish_changes(changes))
        work.after_commit(lambda: current_credential_store().delete(*abandoned))
        return json_response(responses.OneDeleted(data=responses.Deleted.model_validate(aggregate.connection)))


def parse_connection_id(text: str) -> UUID:
    """Return a path's connection id. Raises NotFound: what is no id names no connection."""
    wanted = parse_uuid(text)
    if wanted is None:
        raise errors.NotFound("Your organization has no such data source")
    return wanted


def parse_uuid(text: str) -> UUID | None:
    """Return a text as the id that it may be."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _connection_response(aggregate: ConnectionAggregate, *, status: int = 200) -> Response:
    """Answer with a connection; a change is answered within its unit, so that one that cannot be shown is not made."""
    shown = representations.ConnectionView.from_aggregate(aggregate)
    response = json_response(responses.OneConnection(data=shown), status=status)
    response.set_etag(aggregate.connection.version)
    return response


def _version_check_from_if_match() -> connections.VersionCheck:
    """Return what `If-Match` demands; it is never forced upon anyone."""
    if "If-Match" not in request.headers:
        return None
    named = request.if_match
    versions = {_ETAG_COMPRESSION_SUFFIX.sub("", tag or "") for tag in named.as_set(include_weak=True)}
    return lambda version: named.star_tag or version in versions


def _parse_filters() -> dict[str, str | None]:
    filters = {name: request.args.get(name) for name in ("status", "type", "enabled")}
    for name, values in request_parameters.ALLOWED_FILTER_VALUES.items():
        if filters[name] is not None and filters[name] not in values:
            raise errors.InvalidParameter(f"{name} must be one of {', '.join(values)}", allowed=values)
    if filters["type"] is not None:
        extensions.settings().source_types.require_offered_type(filters["type"])
    return filters


def _require_admin_to_disable(work: UnitOfWork, fields: dict[str, object], *, connection_id: UUID | None) -> None:
    """Let only admins disable. A member hears that of a connection of the organization only: others do not exist."""
    if fields.get("enabled") is not False or auth.current_identity().is_admin:
        return
    if connection_id is not None:
        connections.get_connection(work.session, connection_id)
    auth.require_admin("Only an admin or owner of your organization may disable a data source")


def _refuse_deletion_by_member(aggregate: ConnectionAggregate) -> None:
    if not source_types.is_deletable_type(aggregate.connection.type):
        raise errors.SeededConnection("This data source cannot be deleted; an admin can disable it instead")
    auth.require_admin("Only an admin or owner of your organization may delete a data source")
