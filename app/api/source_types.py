"""The types on offer, and the fields that their forms have."""

from __future__ import annotations

from flask import Blueprint, Response

from app import extensions
from app.api import answers, auth, views
from app.api.description import Described
from app.api.requests import answer

blueprint = Blueprint("source_types", __name__, url_prefix="/api/data-source-types")
blueprint.before_request(auth.authenticate)


@blueprint.get("")
@Described(tag="Connections", gives=answers.ManyTypes)
def index() -> Response:
    """List the types that this installation offers."""
    entries = extensions.settings().source_types.entries
    return answer(answers.ManyTypes(data=[views.TypeView.of(entry) for entry in entries]))
