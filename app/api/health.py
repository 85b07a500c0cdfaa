"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from flask import Blueprint, Flask, Response, current_app
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import extensions
from app.api import answers
from app.api.description import Described
from app.api.readiness import NEEDED, Readiness
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
    """Answer 200 only while the database answers, which no request can do without; name whatever does not answer."""
    known: Readiness = current_app.extensions["readiness"]
    working = known.known()
    failing = [name for name, works in working.items() if not works]
    checks = answers.Checks.model_validate({name: "ok" if works else "failing" for name, works in working.items()})
    if NEEDED in failing:
        return answer(answers.Unavailable(failing=failing, checks=checks), status=503)
    return answer(answers.Ready(failing=failing, checks=checks))


def init_app(app: Flask) -> None:
    """Make what looks at the servers; nothing is looked at before somebody asks."""
    redis, rabbitmq_url = extensions.redis_of(app), extensions.settings_of(app).rabbitmq_url
    looks = {
        NEEDED: partial(_database, app),
        "redis": partial(_redis, redis),
        "broker": partial(broker.answers, rabbitmq_url, timeout=timedelta(seconds=2)),
    }
    app.extensions["readiness"] = Readiness(looks)


def _database(app: Flask) -> bool:
    try:
        with app.app_context(), extensions.engine().connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _redis(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False
