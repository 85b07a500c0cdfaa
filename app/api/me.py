"""Who makes a request, as the settings read the token: what a page cannot tell from claims that have other names."""

from __future__ import annotations

from flask import Blueprint, Response

from app.api import auth, responses
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response

OPENAPI_TAG = "Identity"

blueprint = Blueprint("me", __name__, url_prefix="/api/me")
blueprint.before_request(auth.authenticate_request)


@blueprint.get("")
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.Me)
def show() -> Response:
    """Show whom the token names."""
    return json_response(responses.Me(data=responses.Person.model_validate(auth.current_identity())))
