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
from app.api import responses
from app.api.endpoint_docs import EndpointDocs
from app.api.readiness import REQUIRED_SERVER, ReadinessChecks
from app.api.request_handling import json_response
from app.outbound import broker

OPENAPI_TAG = "Health"
INSTANCE_HEADER = "X-Instance-ID"

blueprint = Blueprint("health", __name__)


@blueprint.after_request
def _add_instance_header(response: Response) -> Response:
    """Name the installation where it has a name: on a port, another one may be listening than was started."""
    if instance := extensions.settings().instance_id:
        response.headers[INSTANCE_HEADER] = instance
    return response


@blueprint.get("/healthz")
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.Alive, security_schemes=())
def alive() -> Response:
    """Answer 200 while the process lives."""
    return json_response(responses.Alive())


@blueprint.get("/readyz")
@EndpointDocs(
    tag=OPENAPI_TAG, response_model=responses.Ready, unavailable_model=responses.Unavailable, security_schemes=()
)
def ready() -> Response:
    """Answer 200 only while the database answers, which no request can do without; name whatever does not answer."""
    known: ReadinessChecks = current_app.extensions["readiness"]
    working = known.recent_results()
    failing = [name for name, works in working.items() if not works]
    checks = responses.Checks.model_validate({name: "ok" if works else "failing" for name, works in working.items()})
    if REQUIRED_SERVER in failing:
        return json_response(responses.Unavailable(failing=failing, checks=checks), status=503)
    return json_response(responses.Ready(failing=failing, checks=checks))


def init_app(app: Flask) -> None:
    """Make what looks at the servers; nothing is looked at before somebody asks."""
    redis, rabbitmq_url = extensions.redis_of(app), extensions.settings_of(app).rabbitmq_url
    looks = {
        REQUIRED_SERVER: partial(_database_answers, app),
        "redis": partial(_redis_answers, redis),
        "broker": partial(broker.is_reachable, rabbitmq_url, timeout=timedelta(seconds=2)),
    }
    app.extensions["readiness"] = ReadinessChecks(looks)


def _database_answers(app: Flask) -> bool:
    try:
        with app.app_context(), extensions.engine().connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _redis_answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False
