"""The OpenAPI 3.1 document, made of what the endpoints say of themselves and of the models that they work with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

from flask import Flask
from openapi_pydantic import (
    Components,
    Header,
    Info,
    Link,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Responses,
    Schema,
    SecurityScheme,
    Server,
    Tag,
)
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from app import errors, extensions
from app.api import description, parameters, problems, pushed
from app.api.description import Described
from app.api.problems import InternalError
from app.outbound.bodies import Webhook

JSON = "application/json"
# What Flask adds by itself to every route.
IMPLIED_METHODS = {"HEAD", "OPTIONS"}

INTRODUCTION = """\
The data source backend of Rita: organizations connect external knowledge sources, verify their credentials and ask for
syncs. An external service keeps the credentials and does the syncing: it is asked by webhook (below) and answers over
RabbitMQ. What changes is pushed to the organization's browsers.

Every error is `{"error", "message", "code", "request_id", ...}`. Another organization's connection is 404.
"""
TAGS = {
    "Connections": "An organization's links to its sources: metadata and configuration, never a credential.",
    "Operations": "What is asked of the external service: one verification or sync at a time on a connection.",
    "History": "What has happened to a connection, and to each of its operations.",
    "Identity": "Whom a token names.",
    "Events": "The organization's event stream. Its JSON is one of "
    + ", ".join(f"`#/components/schemas/{event.__name__}`" for event in pushed.EVENTS)
    + ".",
    "Health": "For load balancers and orchestrators.",
    "Documentation": "This document.",
}
SECURITY = {
    "bearer": SecurityScheme(
        type="http",
        scheme="bearer",
        bearerFormat="JWT",
        description="Claims: `sub` (user), `email`, `organization_id`, `role` (`owner`, `admin`, `member`), `exp`;"
        " settings may name others. `GET /api/me` says whom a token names.",
    ),
    "ticket": SecurityScheme(
        type="apiKey",
        name="ticket",
        security_scheme_in="query",
        description="Of `POST /api/sse/tickets`, once: a browser's EventSource cannot send headers.",
    ),
    "automation": SecurityScheme(
        type="apiKey",
        name="Authorization",
        security_scheme_in="header",
        description="Of the webhooks: the installation's `AUTOMATION_AUTH`.",
    ),
}
HEADERS = {
    "X-Request-ID": Header(
        description="Finds this request in the logs.", required=True, param_schema=Schema(type="string")
    ),
    "WWW-Authenticate": Header(
        description="The scheme to sign in with.", required=True, param_schema=Schema(const="Bearer")
    ),
}


def document(app: Flask) -> dict[str, Any]:
    """Return the document of every described endpoint. It differs between installations in the types on offer."""
    found = sorted(_described(app), key=lambda endpoint: endpoint[0].rule)
    models = _Models([described for _, described in found])
    paths: dict[str, PathItem] = defaultdict(PathItem)
    followers = {
        name: [_operation_id(rule) for rule, _ in found if name in rule.arguments]
        for name in ("connection_id", "operation_id")
    }
    for rule, described in found:
        operation = _operation(app, rule, described, models=models)
        operation.responses = _responses(described, models=models, followers=followers)
        for method in sorted((rule.methods or set()) - IMPLIED_METHODS):
            setattr(paths[_path(rule)], method.lower(), operation)
    made = OpenAPI(
        openapi="3.1.1",
        info=Info(title="Rita Data Sources", version=version("rita-data-sources"), description=INTRODUCTION),
        servers=[Server(url="..")],
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        paths=dict(paths),
        webhooks={name: _webhook(name, model, models=models) for name, model in pushed.WEBHOOKS.items()},
        components=Components(schemas=models.schemas(), securitySchemes=dict(SECURITY), headers=dict(HEADERS)),
    )
    return made.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


class _Untitled(GenerateJsonSchema):
    """Without titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


class _Models:
    """The schemas of all models that the document names."""

    def __init__(self, described: list[Described]) -> None:
        given: set[type[BaseModel]] = {InternalError, *pushed.EVENTS}
        taken: set[type[BaseModel]] = set(pushed.WEBHOOKS.values())
        for one in described:
            given |= {model for model in (one.gives, one.unavailable) if isinstance(model, type)}
            given |= {problems.models()[error] for error in one.errors}
            taken |= {one.takes} if one.takes else set()
        modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(given, "serialization")
        modes |= dict.fromkeys(taken, "validation")
        by_name = sorted(modes.items(), key=lambda pair: pair[0].__name__)
        references, made = models_json_schema(
            by_name, ref_template="#/components/schemas/{model}", schema_generator=_Untitled
        )
        self._references = {model: reference["$ref"] for (model, _), reference in references.items()}
        self._schemas = made["$defs"]

    def schemas(self) -> dict[str, Schema]:
        """Return them all; which types can be created is this installation's."""
        creatable = list(extensions.settings().source_types.creatable)
        if creatable:
            self._schemas["CreateBody"]["properties"]["type"]["enum"] = creatable
        return {name: Schema.model_validate(schema) for name, schema in sorted(self._schemas.items())}

    def content(self, model: type[BaseModel]) -> dict[str, MediaType]:
        """Return JSON of a model as content."""
        return {JSON: MediaType(media_type_schema=self.reference(model))}

    def reference(self, model: type[BaseModel]) -> Reference:
        """Return the reference to a model's schema."""
        return Reference.model_validate({"$ref": self._references[model]})


def _described(app: Flask) -> list[tuple[Rule, Described]]:
    pairs = ((rule, description.of(app.view_functions[rule.endpoint])) for rule in app.url_map.iter_rules())
    return [(rule, described) for rule, described in pairs if described is not None]


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:[^<>]+:)?([a-z_]+)>", r"{\1}", rule.rule)


def _operation_id(rule: Rule) -> str:
    return str(rule.endpoint).replace(".", "_")


def _operation(app: Flask, rule: Rule, described: Described, *, models: _Models) -> Operation:
    summary, _, more = cleandoc(app.view_functions[rule.endpoint].__doc__ or "").partition("\n\n")
    own = list(described.parameters())
    names = {parameter["name"] for parameter in own}
    if "connection_id" in rule.arguments - names:
        own.insert(0, parameters.connection_id())
    if "operation_id" in rule.arguments:
        own.insert(0, parameters.operation_id())
    operation = Operation(
        operationId=_operation_id(rule),
        tags=[described.tag],
        summary=summary.replace("\n", " "),
        description=more or None,
        parameters=_parameters([*own, parameters.request_id()]),
        security=[{name: []} for name in described.security],
    )
    if described.takes:
        content = models.content(described.takes)
        operation.requestBody = RequestBody(content=content, required=described.body_required)
    return operation


def _responses(described: Described, *, models: _Models, followers: dict[str, list[str]]) -> Responses:
    good = _response(described.status)
    links = {
        target: Link(operationId=target, parameters={name: f"$response.body#{pointer}"})
        for name, pointer in described.ids_at.items()
        for target in followers[name]
    }
    good.links = dict(links) or None
    if isinstance(described.gives, str):
        text = MediaType(media_type_schema=Schema(type="string"), example=described.gives)
        good.content = {described.media_type: text}
    else:
        good.content = models.content(described.gives)
    responses = {described.status: good, 500: _response(500, content=models.content(InternalError))}
    by_status = defaultdict(list)
    for error in described.errors:
        by_status[error.status].append(error)
    for status, of_status in by_status.items():
        responses[status] = _refusal(status, of_status, models=models)
    if described.unavailable:
        responses[503] = _response(503, content=models.content(described.unavailable))
    return {str(status): responses[status] for status in sorted(responses)}


def _refusal(status: int, of_status: list[type[errors.AppError]], *, models: _Models) -> Response:
    """Return the response of a status: one of the errors that share it, told apart by their codes."""
    references = [models.reference(problems.models()[error]) for error in of_status]
    one_of = references[0] if len(references) == 1 else Schema(oneOf=list(references))
    response = _response(status, content={JSON: MediaType(media_type_schema=one_of)})
    codes = ", ".join(f"`{error.code}`" for error in of_status)
    response.description = f"{response.description}: {codes}"
    if status == HTTPStatus.UNAUTHORIZED and response.headers is not None:
        response.headers["WWW-Authenticate"] = _header("WWW-Authenticate")
    return response


def _response(status: int, *, content: dict[str, MediaType] | None = None) -> Response:
    headers: dict[str, Header | Reference] = {"X-Request-ID": _header("X-Request-ID")}
    return Response(description=HTTPStatus(status).phrase, content=content, headers=headers)


def _header(name: str) -> Reference:
    return Reference.model_validate({"$ref": f"#/components/headers/{name}"})


def _parameters(written: Sequence[parameters.Parameter]) -> list[Parameter | Reference]:
    return [Parameter.model_validate(parameter) for parameter in written]


def _webhook(name: str, model: type[Webhook], *, models: _Models) -> PathItem:
    return PathItem(
        post=Operation(
            operationId=f"webhook_{name}",
            summary=cleandoc(model.__doc__ or ""),
            description=pushed.DELIVERY,
            parameters=_parameters(parameters.of_webhooks()),
            requestBody=RequestBody(content=models.content(model), required=True),
            responses={status: Response(description=text) for status, text in pushed.ANSWERS.items()},
            security=[{"automation": []}],
        )
    )
