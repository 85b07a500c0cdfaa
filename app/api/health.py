"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import extensions
from app.api import answers
from app.api.description import Described
from app.api.requests import answer
from app.outbound import broker

TAG = "Health"
INSTANCE_HEADER = "X-Instance-ID"

blueprint = Blueprint("health", __name__)


@blueprint.after_request
def _say_who_answers(response: Response) -> Response:
    """Name the installation where it has a name: on a port, another one may be listening than was started."""
    if instance := extensions.settings().instance_id:
        response.headers[INSTANCE_HEADER] = instance
    return response


@blueprint.get("/healthz")
@Described(tag=TAG, gives=answers.Alive, security=())
def alive() -> Response:
    """Answer 200 while the process lives."""
    return answer(answers.Alive())


@blueprint.get("/readyz")
@Described(tag=TAG, gives=answers.Ready, unavailable=answers.Unavailable, security=())
def ready() -> Response:
    """Answer 200 only while database, Redis and broker answer; 503 names what does not."""
    working = {"database": _database(), "redis": _redis(), "broker": _broker()}
    failing = [name for name, works in working.items() if not works]
    checks = answers.Checks.model_validate({name: "ok" if works else "failing" for name, works in working.items()})
    if failing:
        return answer(answers.Unavailable(failing=failing, checks=checks), status=503)
    return answer(answers.Ready(checks=checks))


def _database() -> bool:
    try:
        with extensions.engine().connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _redis() -> bool:
    try:
        return bool(extensions.redis().ping())
    except RedisError:
        return False


def _broker() -> bool:
    return broker.answers(extensions.settings().rabbitmq_url, timeout=timedelta(seconds=2))
