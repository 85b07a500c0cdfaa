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
from app.api import endpoint_docs, error_schemas, outgoing_schemas, request_parameters
from app.api.endpoint_docs import EndpointDocs
from app.api.error_schemas import InternalError
from app.outbound.webhook_bodies import WebhookBody

JSON_MEDIA_TYPE = "application/json"
# What Flask adds by itself to every route.
IMPLIED_METHODS = {"HEAD", "OPTIONS"}

API_DESCRIPTION = """\
The data source backend of Rita: organizations connect external knowledge sources, verify their credentials and ask for
syncs. An external service keeps the credentials and does the syncing: it is asked by webhook (below) and answers over
RabbitMQ. What changes is pushed to the organization's browsers.

Every error is `{"error", "message", "code", "request_id", ...}`. Another organization's connection is 404.
"""
TAG_DESCRIPTIONS = {
    "Connections": "An organization's links to its sources: metadata and configuration, never a credential.",
    "Operations": "What is asked of the external service: one verification or sync at a time on a connection.",
    "History": "What has happened to a connection, and to each of its operations.",
    "Identity": "Whom a token names.",
    "Events": "The organization's event stream. Its JSON is one of "
    + ", ".join(f"`#/components/schemas/{event.__name__}`" for event in outgoing_schemas.EVENT_MODELS)
    + ".",
    "Health": "For load balancers and orchestrators.",
    "Documentation": "This document.",
}
SECURITY_SCHEMES = {
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
RESPONSE_HEADERS = {
    "X-Request-ID": Header(
        description="Finds this request in the logs.", required=True, param_schema=Schema(type="string")
    ),
    "WWW-Authenticate": Header(
        description="The scheme to sign in with.", required=True, param_schema=Schema(const="Bearer")
    ),
}


def openapi_document(app: Flask) -> dict[str, Any]:
    """Return the document of every described endpoint. It differs between installations in the types on offer."""
    found = sorted(_documented_endpoints(app), key=lambda endpoint: endpoint[0].rule)
    models = _ModelSchemas([endpoint for _, endpoint in found])
    paths: dict[str, PathItem] = defaultdict(PathItem)
    linked_ids: dict[str, list[str]] = defaultdict(list)
    for rule, _ in found:
        for name in rule.arguments:
            linked_ids[name].append(_openapi_operation_id(rule))
    for rule, endpoint in found:
        operation = _openapi_operation(app, rule, endpoint, models=models)
        operation.responses = _openapi_responses(endpoint, models=models, linked_ids=linked_ids)
        for method in sorted((rule.methods or set()) - IMPLIED_METHODS):
            setattr(paths[_openapi_path(rule)], method.lower(), operation)
    webhooks = {
        name: _webhook_path_item(name, model, models=models) for name, model in outgoing_schemas.WEBHOOK_MODELS.items()
    }
    schemas = models.all_schemas()
    made = OpenAPI(
        openapi="3.1.1",
        info=Info(title="Rita Data Sources", version=version("rita-data-sources"), description=API_DESCRIPTION),
        servers=[Server(url="..")],
        tags=[Tag(name=name, description=text) for name, text in TAG_DESCRIPTIONS.items()],
        paths=dict(paths),
        webhooks=webhooks,
        components=Components(schemas=schemas, securitySchemes=dict(SECURITY_SCHEMES), headers=dict(RESPONSE_HEADERS)),
    )
    return made.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


class _TitlelessSchemas(GenerateJsonSchema):
    """Without titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


class _ModelSchemas:
    """The schemas of all models that the document names."""

    def __init__(self, endpoint: list[EndpointDocs]) -> None:
        given: set[type[BaseModel]] = {InternalError, *outgoing_schemas.EVENT_MODELS}
        taken: set[type[BaseModel]] = set(outgoing_schemas.WEBHOOK_MODELS.values())
        for one in endpoint:
            given |= {model for model in (one.response_model, one.unavailable_model) if isinstance(model, type)}
            given |= {error_schemas.error_models()[error] for error in one.all_errors}
            taken |= {one.request_model} if one.request_model else set()
        modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(given, "serialization")
        modes |= dict.fromkeys(taken, "validation")
        by_name = sorted(modes.items(), key=lambda pair: pair[0].__name__)
        template = "#/components/schemas/{model}"
        references, made = models_json_schema(by_name, ref_template=template, schema_generator=_TitlelessSchemas)
        self._references = {model: reference["$ref"] for (model, _), reference in references.items()}
        self._schemas = made["$defs"]

    def all_schemas(self) -> dict[str, Schema]:
        """Return them all; which types can be created is this installation's."""
        creatable = list(extensions.settings().source_types.creatable_types)
        if creatable:
            self._schemas["CreateBody"]["properties"]["type"]["enum"] = creatable
        return {name: Schema.model_validate(schema) for name, schema in sorted(self._schemas.items())}

    def json_content(self, model: type[BaseModel]) -> dict[str, MediaType]:
        """Return JSON of a model as content."""
        return {JSON_MEDIA_TYPE: MediaType(media_type_schema=self.schema_reference(model))}

    def schema_reference(self, model: type[BaseModel]) -> Reference:
        """Return the reference to a model's schema."""
        return Reference.model_validate({"$ref": self._references[model]})


def _documented_endpoints(app: Flask) -> list[tuple[Rule, EndpointDocs]]:
    pairs = ((rule, endpoint_docs.docs_of_view(app.view_functions[rule.endpoint])) for rule in app.url_map.iter_rules())
    return [(rule, endpoint) for rule, endpoint in pairs if endpoint is not None]


def _openapi_path(rule: Rule) -> str:
    return re.sub(r"<(?:[^<>]+:)?([a-z_]+)>", r"{\1}", rule.rule)


def _openapi_operation_id(rule: Rule) -> str:
    return str(rule.endpoint).replace(".", "_")


def _openapi_operation(app: Flask, rule: Rule, endpoint: EndpointDocs, *, models: _ModelSchemas) -> Operation:
    summary, _, more = cleandoc(app.view_functions[rule.endpoint].__doc__ or "").partition("\n\n")
    own = list(endpoint.parameter_docs())
    names = {parameter["name"] for parameter in own}
    if "connection_id" in rule.arguments - names:
        own.insert(0, request_parameters.CONNECTION_ID_DOCS)
    if "operation_id" in rule.arguments:
        own.insert(0, request_parameters.OPERATION_ID_DOCS)
    operation = Operation(
        operationId=_openapi_operation_id(rule),
        tags=[endpoint.tag],
        summary=summary.replace("\n", " "),
        description=more or None,
        parameters=_openapi_parameters([*own, request_parameters.REQUEST_ID_DOCS]),
        security=[{name: []} for name in endpoint.security_schemes],
    )
    if endpoint.request_model:
        content = models.json_content(endpoint.request_model)
        operation.requestBody = RequestBody(content=content, required=endpoint.body_required)
    return operation


def _openapi_responses(endpoint: EndpointDocs, *, models: _ModelSchemas, linked_ids: dict[str, list[str]]) -> Responses:
    good = _openapi_response(endpoint.status)
    links = {
        target: Link(operationId=target, parameters={name: f"$response.body#{pointer}"})
        for name, pointer in endpoint.id_pointers.items()
        for target in linked_ids[name]
    }
    good.links = dict(links) or None
    if isinstance(endpoint.response_model, str):
        text = MediaType(media_type_schema=Schema(type="string"), example=endpoint.response_model)
        good.content = {endpoint.media_type: text}
    else:
        good.content = models.json_content(endpoint.response_model)
    responses = {endpoint.status: good, 500: _openapi_response(500, content=models.json_content(InternalError))}
    by_status = defaultdict(list)
    for error in endpoint.all_errors:
        by_status[error.status].append(error)
    for status, of_status in by_status.items():
        responses[status] = _error_response(status, of_status, models=models)
    if endpoint.unavailable_model:
        responses[503] = _openapi_response(503, content=models.json_content(endpoint.unavailable_model))
    return {str(status): responses[status] for status in sorted(responses)}


def _error_response(status: int, classes: list[type[errors.AppError]], *, models: _ModelSchemas) -> Response:
    """Return the response of a status: one of the errors that share it, told apart by their codes."""
    references = [models.schema_reference(error_schemas.error_models()[error]) for error in classes]
    one_of = references[0] if len(references) == 1 else Schema(oneOf=list(references))
    response = _openapi_response(status, content={JSON_MEDIA_TYPE: MediaType(media_type_schema=one_of)})
    codes = ", ".join(f"`{error.code}`" for error in classes)
    response.description = f"{response.description}: {codes}"
    if status == HTTPStatus.UNAUTHORIZED and response.headers is not None:
        response.headers["WWW-Authenticate"] = _header_reference("WWW-Authenticate")
    return response


def _openapi_response(status: int, *, content: dict[str, MediaType] | None = None) -> Response:
    headers: dict[str, Header | Reference] = {"X-Request-ID": _header_reference("X-Request-ID")}
    return Response(description=HTTPStatus(status).phrase, content=content, headers=headers)


def _header_reference(name: str) -> Reference:
    return Reference.model_validate({"$ref": f"#/components/headers/{name}"})


def _openapi_parameters(parameter_docs: Sequence[request_parameters.ParameterDocs]) -> list[Parameter | Reference]:
    return [Parameter.model_validate(parameter) for parameter in parameter_docs]


def _webhook_path_item(name: str, model: type[WebhookBody], *, models: _ModelSchemas) -> PathItem:
    answers = outgoing_schemas.WEBHOOK_ANSWER_DESCRIPTIONS
    operation = Operation(
        operationId=f"webhook_{name}",
        summary=cleandoc(model.__doc__ or ""),
        description=outgoing_schemas.WEBHOOK_DELIVERY_DESCRIPTION,
        parameters=_openapi_parameters(request_parameters.webhook_header_docs()),
        requestBody=RequestBody(content=models.json_content(model), required=True),
        responses={status: Response(description=text) for status, text in answers.items()},
        security=[{"automation": []}],
    )
    return PathItem(post=operation)
