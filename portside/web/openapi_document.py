"""The OpenAPI document (3.1) of a service: its routes, with what it says of each.

Bodies are the pydantic models that handlers answer with and read; problems come from the service's
table of slugs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic

import falcon
from falcon.inspect import inspect_routes
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from portside.web.openapi import Answer, Api, JsonObject, Operation, Operations, Parameter, Slug
from portside.web.problems import PROBLEM_TYPE, RegisteredType
from portside.wire.problem import PROBLEM_PREFIX, Problem

_MODELS = "#/components/schemas/{model}"


def routes(app: falcon.App[Any, Any]) -> set[tuple[str, str]]:
    """Method and path of whatever a client may ask for."""
    return {
        (method.method, route.path.replace(":path}", "}"))
        for route in inspect_routes(app)
        for method in route.methods
        # falcon's own answers to OPTIONS and to methods that aren't there; nginx's questions.
        if not method.internal and not route.path.startswith("/internal/")
    }


def document(
    app: falcon.App[Any, Any], api: Api[Slug], operations: Operations[Slug], version: str
) -> JsonObject:
    """The whole OpenAPI document: of every route that has a description."""
    paths: dict[str, JsonObject] = {}
    answered: set[type[BaseModel]] = {Problem}
    bodies: set[type[BaseModel]] = set()
    described = routes(app) & operations.keys()
    for method, path in sorted(described, key=lambda route: (route[1], route[0])):
        operation = operations[method, path]
        answered |= operation.answered_models
        if operation.body_model is not None:
            bodies.add(operation.body_model)
        paths.setdefault(path, {})[method.lower()] = _Writer(api).operation(operation, method, path)
    models = sorted(answered | bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation" if model in bodies else "serialization") for model in models],
        ref_template=_MODELS,
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": api.title, "version": version, "description": api.description},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {scheme.name: scheme.document for scheme in api.schemes},
        },
    }


@dataclass(frozen=True, slots=True)
class _Writer(Generic[Slug]):
    """Operations of one API as OpenAPI's objects."""

    api: Api[Slug]

    def operation(self, operation: Operation[Slug], method: str, path: str) -> JsonObject:
        """An Operation Object."""
        words = [word.strip("{}").replace("_", "-") for word in path.split("/") if word]
        security = self.api.security if operation.security is None else operation.security
        document: JsonObject = {
            "operationId": "-".join([method.lower(), *words]),
            "tags": [operation.tag],
            "summary": operation.summary,
            "security": [{} if scheme is None else {scheme.name: []} for scheme in security],
            "responses": {
                **{
                    str(status): self._answer(answer)
                    for status, answer in operation.full_answers().items()
                },
                **self._problems(
                    {
                        *operation.problems,
                        *self.api.problems,
                        *(slug for scheme in security if scheme for slug in scheme.problems),
                    },
                    operation.registered,
                    method,
                ),
            },
        }
        parameters = [*_undescribed(path, operation.parameters), *operation.parameters]
        if parameters:
            document["parameters"] = [parameter.document() for parameter in parameters]
        if operation.body is not None:
            document["requestBody"] = {
                "required": operation.body_required,
                "content": _body(operation.body),
            }
        return document

    def _answer(self, answer: Answer) -> JsonObject:
        schema = answer.schema if answer.model is None else _reference(answer.model)
        content = None if schema is None else {answer.media_type: schema}
        return _response(answer.description, {**answer.headers, **self.api.headers}, content)

    def _problems(
        self, slugs: set[Slug], registered: Iterable[RegisteredType], method: str
    ) -> JsonObject:
        """Responses of refusals: one for each status, with the types that have it."""
        by_status: dict[int, list[str]] = {}
        for slug in sorted(slugs):
            status = self.api.problem_type(slug, "").status
            by_status.setdefault(status, []).append(PROBLEM_PREFIX + slug)
        for each in registered:
            by_status.setdefault(int(each.status), []).append(each.uri)
        return {
            str(status): self._problem(status, alike, method)
            for status, alike in sorted(by_status.items())
        }

    def _problem(self, status: int, types: list[str], method: str) -> JsonObject:
        phrase = self.api.phrases.get(status) or HTTPStatus(status).phrase
        headers = {**self.api.problem_headers.get(status, {}), **self.api.headers}
        schema = {
            **_reference(Problem),
            "properties": {
                "type": {"enum": types},
                "status": {"const": status},
            },
        }
        # An answer to HEAD has no body (RFC 9110, section 9.3.2).
        content = None if method == "HEAD" else {PROBLEM_TYPE: schema}
        names = (re.split("[:#]", each)[-1] for each in types)
        return _response(f"{phrase}: {', '.join(names)}.", headers, content)


def _undescribed(path: str, parameters: Iterable[Parameter]) -> Iterator[Parameter]:
    """The parameters of a path that nobody has described."""
    described = {each.name for each in parameters if each.place == "path"}
    for word in path.split("/"):
        if word.startswith("{") and word.strip("{}") not in described:
            yield Parameter("path", word.strip("{}"), {"type": "string"})


def _response(
    description: str, headers: Mapping[str, str], content: Mapping[str, JsonObject] | None
) -> JsonObject:
    """A Response Object; `content` holds schemas by media type."""
    document: JsonObject = {"description": description}
    if headers:
        document["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}, "required": True}
            for name, meaning in headers.items()
        }
    if content is not None:
        document["content"] = _content(content)
    return document


def _body(body: type[BaseModel] | Mapping[str, JsonObject]) -> JsonObject:
    if isinstance(body, type):
        return _content({falcon.MEDIA_JSON: _reference(body)})
    return _content(body)


def _content(schemas: Mapping[str, JsonObject]) -> JsonObject:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def _reference(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _MODELS.format(model=model.__name__)}
