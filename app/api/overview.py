"""What the page shows at a glance, in one answer."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from flask import Blueprint, Response
from pydantic import Field

from app import errors
from app.api import auth, read_limits
from app.api.endpoint_docs import EndpointDocs
from app.api.representations import Representation
from app.api.request_handling import json_response
from app.api.responses import ResponseBody
from app.services import overview
from app.unit_of_work import unit_of_work

OPENAPI_TAG = "History"

blueprint = Blueprint("overview", __name__, url_prefix="/api/overview")
blueprint.before_request(auth.authenticate_request)


class DayView(Representation):
    """The syncs that ended on one day, UTC, by how they did; replaced ones are not counted."""

    day: date
    succeeded: int
    failed: int
    unanswered: int = Field(description="Not delivered, or without an answer in time.")
    documents: int = Field(description="All that they counted.")


class SyncView(Representation):
    """A sync that has ended."""

    id: UUID
    connection_id: UUID
    state: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    documents_processed: int | None


class OverviewView(Representation):
    """An organization at a glance."""

    organization_id: UUID
    organization_name: str | None = Field(description="As the rest of Rita has it; null where it has told none.")
    days: list[DayView] = Field(
        description=f"Oldest first, today last; of each connection's newest {overview.MAX_SYNCS_PER_CONNECTION} syncs."
    )
    recent: list[SyncView] = Field(
        description=f"The last {overview.RECENT_SYNCS_PER_CONNECTION} of each connection, newest first."
    )


class OneOverview(ResponseBody):
    """An organization at a glance."""

    data: OverviewView


@blueprint.get("")
@EndpointDocs(tag=OPENAPI_TAG, response_model=OneOverview, possible_errors=(errors.RateLimited,))
@read_limits.limit_concurrent_reads
def show() -> Response:
    """Show what the organization's syncs came to in the last 30 days, and the last ones of each connection."""
    who = auth.current_identity()
    with unit_of_work(tenant_ids=[who.organization_id]) as work:
        found = overview.load_overview(work.session, who.organization_id, now=work.now)
    view = OverviewView(
        organization_id=who.organization_id,
        organization_name=found.name,
        days=[DayView.model_validate(day) for day in found.days],
        recent=[SyncView.model_validate(row) for row in found.recent],
    )
    return json_response(OneOverview(data=view))
