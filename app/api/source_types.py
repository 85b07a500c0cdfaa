"""The types on offer, and the fields that their forms have."""

from __future__ import annotations

from flask import Blueprint, Response

from app import extensions
from app.api import auth, representations, responses
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response

blueprint = Blueprint("source_types", __name__, url_prefix="/api/data-source-types")
blueprint.before_request(auth.authenticate_request)


@blueprint.get("")
@EndpointDocs(tag="Connections", response_model=responses.ManyTypes)
def index() -> Response:
    """List the types that this installation offers."""
    types = extensions.settings().source_types.offered_types
    shown = [representations.TypeView.from_source_type(source_type) for source_type in types]
    return json_response(responses.ManyTypes(data=shown))
