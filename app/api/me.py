"""Who makes a request, as the settings read the token: what a page cannot tell from claims that have other names."""

from __future__ import annotations

from flask import Blueprint, Response

from app.api import answers, auth
from app.api.description import Described
from app.api.requests import answer

TAG = "Identity"

blueprint = Blueprint("me", __name__, url_prefix="/api/me")
blueprint.before_request(auth.authenticate)


@blueprint.get("")
@Described(tag=TAG, gives=answers.Me)
def show() -> Response:
    """Show whom the token names."""
    return answer(answers.Me(data=answers.Person.model_validate(auth.current())))
