"""Connections: seed, list, read, configure, create, delete. CONTRACT's section 3, row by row."""

from __future__ import annotations

import re
from uuid import UUID

from flask import Blueprint, Response, request

from app import errors, extensions
from app.api import answers, auth, limits, looking, parameters, reading, schemas, views
from app.api.description import Described
from app.api.requests import answer, body
from app.domain import sources
from app.domain.cases import Case
from app.outbound import events
from app.outbound.sealing import seals
from app.services import connections
from app.unit_of_work import UnitOfWork, unit_of_work

TAG = "Connections"
# The path of one connection.
ONE = "/<connection_id>"
# What any change of a connection can be refused for, beside the shape of its body.
CONFIGURING = (errors.SecretRefused, errors.AdminRequired, errors.RateLimited)

# What proxies that compress put behind an answer's ETag: Apache and Caddy a hyphen, Jetty two. Others make it a weak
# one (`W/`); a version is of the connection, whatever the form of the answer that named it.
_CODED = re.compile(r"(--?|;)(gzip|br|zstd|deflate)$")

blueprint = Blueprint("data_sources", __name__, url_prefix="/api/data-sources")
blueprint.before_request(auth.authenticate)


@blueprint.post("/seed")
@Described(tag=TAG, gives=answers.Seeded, refuses=(errors.RateLimited,))
def seed() -> Response:
    """Create the seeded connections that are missing."""
    limits.spend_change()
    who = auth.current()
    with unit_of_work(tenants=[who.organization_id]) as work:
        changes = connections.seed(work.session, who.organization_id, actor=who.actor, now=work.now)
        work.after_commit(lambda: events.publish(changes))
    created, existing = len(changes), len(sources.SEEDED) - len(changes)
    message = f"Created {created} new data sources, {existing} already existed"
    return answer(answers.Seeded(created=created, existing=existing, message=message))


@blueprint.get("")
@Described(
    tag=TAG,
    gives=answers.ManyConnections,
    parameters=parameters.filters,
    refuses=(errors.InvalidParameter, errors.InvalidType, errors.RateLimited),
    connection_at="/data/0/id",
)
@reading.in_turn
def index() -> Response:
    """List the organization's connections that pass every filter."""
    who = auth.current()
    filters = _filters()
    with unit_of_work(tenants=[who.organization_id]) as work:
        cases = connections.find_all(
            work.session,
            who.organization_id,
            status=filters["status"],
            type_name=filters["type"],
            enabled=None if filters["enabled"] is None else filters["enabled"] == "true",
        )
    return answer(answers.ManyConnections(data=[views.ConnectionView.of(case) for case in cases]))


@blueprint.post("")
@Described(
    tag=TAG,
    status=201,
    gives=answers.OneConnection,
    takes=schemas.CreateBody,
    refuses=(*CONFIGURING, errors.InvalidType, errors.AlreadyExists, errors.CreationUnavailable),
    connection_at="/data/id",
)
def create() -> Response:
    """Create a connection of a type that is turned on, or restore the deleted one."""
    limits.spend_change()
    who = auth.current()
    types = extensions.settings().source_types
    if not types.creatable:
        raise errors.CreationUnavailable("Every type on offer is created by seed; no other type is turned on")
    sent = body(schemas.CreateBody)
    entry = types.get(sent.type)
    if entry.name in sources.SEEDED:
        raise errors.AlreadyExists(f"Connections of type '{entry.name}' are created by seed")
    fields = looking.fields_of(sent)
    with unit_of_work(tenants=[who.organization_id]) as work:
        _require_admin_to_disable(work, fields, connection_id=None)
        case, changes = connections.create(
            work.session, who.organization_id, entry, fields=fields, actor=who.actor, now=work.now
        )
        work.after_commit(lambda: events.publish(changes))
        return _shown(case, status=201)


@blueprint.get(ONE)
@Described(
    tag=TAG, gives=answers.OneConnection, refuses=(errors.NotFound, errors.RateLimited), connection_at="/data/id"
)
@reading.in_turn
def show(connection_id: str) -> Response:
    """Show one connection."""
    wanted = connection_uuid(connection_id)
    with unit_of_work(tenants=[auth.current().organization_id]) as work:
        case = connections.find(work.session, wanted)
    return _shown(case)


@blueprint.put(ONE)
@Described(
    tag=TAG,
    gives=answers.OneConnection,
    takes=schemas.ConfigureBody,
    parameters=lambda: [*parameters.id_or_type(), parameters.if_match()],
    refuses=(*CONFIGURING, errors.NotFound, errors.InvalidType, errors.ChangedMeanwhile),
    connection_at="/data/id",
)
def configure(connection_id: str) -> Response:
    """Configure a connection by id, or a type's connection by the type's name, creating it if there is none."""
    limits.spend_change()
    wanted = as_uuid(connection_id)
    entry = None if wanted else extensions.settings().source_types.get(connection_id)
    sent = body(schemas.ConfigureBody)
    fields = looking.fields_of(sent) | {"enabled": sent.enabled}
    who = auth.current()
    with unit_of_work(tenants=[who.organization_id]) as work:
        _require_admin_to_disable(work, fields, connection_id=wanted)
        if entry is not None:
            case, changes = connections.configure_type(
                work.session,
                who.organization_id,
                entry,
                fields=fields,
                expected=_expected(),
                actor=who.actor,
                now=work.now,
            )
        else:
            case, changes = connections.configure(
                work.session,
                connection_uuid(connection_id),
                fields=fields,
                expected=_expected(),
                actor=who.actor,
                now=work.now,
            )
        work.after_commit(lambda: events.publish(changes))
        return _shown(case)


@blueprint.patch(ONE)
@Described(
    tag=TAG,
    gives=answers.OneConnection,
    takes=schemas.ConfigureBody,
    parameters=lambda: [parameters.if_match()],
    refuses=(*CONFIGURING, errors.NotFound, errors.ChangedMeanwhile),
    connection_at="/data/id",
)
def change(connection_id: str) -> Response:
    """Set any subset of the fields."""
    limits.spend_change()
    wanted = connection_uuid(connection_id)
    fields = looking.fields_of(body(schemas.ConfigureBody))
    who = auth.current()
    with unit_of_work(tenants=[who.organization_id]) as work:
        _require_admin_to_disable(work, fields, connection_id=wanted)
        case, changes = connections.configure(
            work.session,
            wanted,
            fields=fields,
            expected=_expected(),
            actor=who.actor,
            now=work.now,
        )
        work.after_commit(lambda: events.publish(changes))
        return _shown(case)


@blueprint.delete(ONE)
@Described(
    tag=TAG,
    gives=answers.OneDeleted,
    refuses=(
        errors.NotFound,
        errors.AdminRequired,
        errors.SeededConnection,
        errors.CannotDelete,
        errors.RateLimited,
    ),
)
def delete(connection_id: str) -> Response:
    """Delete a connection of a type that is not seeded; the row stays, invisible, and can be restored."""
    limits.spend_change()
    wanted = connection_uuid(connection_id)
    who = auth.current()
    with unit_of_work(tenants=[who.organization_id]) as work:
        if not who.is_admin:
            _refuse_member(connections.find(work.session, wanted))
        case, abandoned, changes = connections.delete(work.session, wanted, actor=who.actor, now=work.now)
        work.after_commit(lambda: events.publish(changes))
        work.after_commit(lambda: seals().discard(*abandoned))
        return answer(answers.OneDeleted(data=answers.Deleted.model_validate(case.connection)))


def connection_uuid(text: str) -> UUID:
    """Return a path's connection id. Raises NotFound: what is no id names no connection."""
    wanted = as_uuid(text)
    if wanted is None:
        raise errors.NotFound("Your organization has no such data source")
    return wanted


def as_uuid(text: str) -> UUID | None:
    """Return a text as the id that it may be."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _shown(case: Case, *, status: int = 200) -> Response:
    """Answer with a connection; a change is answered within its unit, so that one that cannot be shown is not made."""
    response = answer(answers.OneConnection(data=views.ConnectionView.of(case)), status=status)
    response.set_etag(case.connection.version)
    return response


def _expected() -> connections.Expected:
    """Return what `If-Match` demands; it is never forced upon anyone."""
    if "If-Match" not in request.headers:
        return None
    named = request.if_match
    versions = {_CODED.sub("", tag or "") for tag in named.as_set(include_weak=True)}
    return lambda version: named.star_tag or version in versions


def _filters() -> dict[str, str | None]:
    filters = {name: request.args.get(name) for name in ("status", "type", "enabled")}
    for name, values in parameters.ALLOWED.items():
        if filters[name] is not None and filters[name] not in values:
            raise errors.InvalidParameter(f"{name} must be one of {', '.join(values)}", allowed=values)
    if filters["type"] is not None:
        extensions.settings().source_types.get(filters["type"])
    return filters


def _require_admin_to_disable(work: UnitOfWork, fields: dict[str, object], *, connection_id: UUID | None) -> None:
    """Let only admins disable. A member hears that of a connection of the organization only: others do not exist."""
    if fields.get("enabled") is not False or auth.current().is_admin:
        return
    if connection_id is not None:
        connections.find(work.session, connection_id)
    auth.require_admin("Only an admin or owner of your organization may disable a data source")


def _refuse_member(case: Case) -> None:
    if not sources.is_deletable(case.connection.type):
        raise errors.SeededConnection("This data source cannot be deleted; an admin can disable it instead")
    auth.require_admin("Only an admin or owner of your organization may delete a data source")
