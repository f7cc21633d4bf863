"""The API's description of itself (OpenAPI 3.1), assembled from the app's own routes.

Bodies are the pydantic models of the handlers; problems come from the table of slugs. What only
people know of an operation stands in `control.api.operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import falcon
from falcon.inspect import inspect_routes
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from control.problems import ProblemError, Slug
from portside.wire.problem import PROBLEM_PREFIX, Problem

JsonObject = dict[str, Any]

_MODELS = "#/components/schemas/{model}"

Auth = Literal["key", "heartbeat", "none"]

_SECURITY: dict[Auth, JsonObject] = {
    "key": {"apiKey": []},
    "heartbeat": {"heartbeat": []},
    "none": {},
}
_SCHEMES: JsonObject = {
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An app's API key: `portside-control app create`.",
    },
    "heartbeat": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A `heartbeat+jwt` of the node over the request's body.",
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `problems` are those beside the ones that any request may hear."""

    tag: str
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    problems: Iterable[Slug] = ()
    auth: tuple[Auth, ...] = ("key",)
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the request, by name with their meaning; none is needed."""
    media_type: str = falcon.MEDIA_JSON

    @property
    def models(self) -> set[type[BaseModel]]:
        """The models of its answers."""
        return {model for model in self.answers.values() if model is not None}


Operations = Mapping[tuple[str, str], Operation]
"""By method and path."""

_ANYWHERE: tuple[Slug, ...] = ("malformed-request", "database-unavailable", "internal-error")
_WITH_KEY: tuple[Slug, ...] = ("key-missing", "key-unknown", "scope-missing")


def routes(app: falcon.App[Any, Any]) -> set[tuple[str, str]]:
    """Method and path of whatever a client may ask for."""
    return {
        (method.method, route.path)
        for route in inspect_routes(app)
        for method in route.methods
        if not method.internal
    }


def document(app: falcon.App[Any, Any], operations: Operations, version: str) -> JsonObject:
    """The whole OpenAPI document: of every route that has a description."""
    paths: dict[str, JsonObject] = {}
    answers: set[type[BaseModel]] = {Problem}
    bodies: set[type[BaseModel]] = set()
    for method, path in sorted(routes(app) & operations.keys(), key=lambda each: each[::-1]):
        operation = operations[method, path]
        answers |= operation.models
        if operation.body is not None:
            bodies.add(operation.body)
        paths.setdefault(path, {})[method.lower()] = _operation(operation, method, path)
    models = sorted(answers | bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation" if model in bodies else "serialization") for model in models],
        ref_template=_MODELS,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portside control plane",
            "version": version,
            "description": "Sessions for uploads, and where files are.",
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SCHEMES},
    }


def _operation(operation: Operation, method: str, path: str) -> JsonObject:
    words = [word.strip("{}").replace("_", "-") for word in path.split("/") if word]
    known = {*operation.problems, *_ANYWHERE, *(_WITH_KEY if "key" in operation.auth else ())}
    document: JsonObject = {
        "operationId": "-".join([method.lower(), *words]),
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [_SECURITY[auth] for auth in operation.auth],
        "responses": {
            **{
                str(status): _answer(operation, status, model)
                for status, model in operation.answers.items()
            },
            **_problems(known),
        },
    }
    parameters = [*_path_parameters(path), *_query(operation), *_headers(operation)]
    if parameters:
        document["parameters"] = parameters
    if operation.body is not None:
        reference = {"$ref": _MODELS.format(model=operation.body.__name__)}
        document["requestBody"] = {
            "required": True,
            "content": {falcon.MEDIA_JSON: {"schema": reference}},
        }
    return document


def _answer(operation: Operation, status: int, model: type[BaseModel] | None) -> JsonObject:
    document: JsonObject = {"description": HTTPStatus(status).phrase}
    if model is not None:
        reference = {"$ref": _MODELS.format(model=model.__name__)}
        document["content"] = {operation.media_type: {"schema": reference}}
    elif status == 200:
        document["content"] = {operation.media_type: {"schema": {}}}
    return document


def _path_parameters(path: str) -> list[JsonObject]:
    return [
        {"name": word.strip("{}"), "in": "path", "required": True, "schema": {"type": "string"}}
        for word in path.split("/")
        if word.startswith("{")
    ]


def _query(operation: Operation) -> list[JsonObject]:
    if operation.query is None:
        return []
    found = []
    for name, schema in operation.query.model_json_schema()["properties"].items():
        # Whether a parameter may be left out isn't part of its value's schema.
        kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        known = ("default", "title", "description", "anyOf")
        plain = {key: value for key, value in kinds[0].items() if key not in known}
        found.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": plain,
                "description": schema.get("description", ""),
            }
        )
    return found


def _headers(operation: Operation) -> list[JsonObject]:
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": meaning,
        }
        for name, meaning in operation.headers.items()
    ]


def _problems(slugs: set[Slug]) -> JsonObject:
    """Responses of refusals: one for each status, with the types that have it."""
    by_status: dict[int, list[Slug]] = {}
    for slug in sorted(slugs):
        by_status.setdefault(ProblemError(slug, "").status, []).append(slug)
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(alike)}.",
            "content": {
                "application/problem+json": {
                    "schema": {
                        "$ref": _MODELS.format(model=Problem.__name__),
                        "properties": {
                            "type": {"enum": [PROBLEM_PREFIX + slug for slug in alike]},
                            "status": {"const": status},
                        },
                    }
                }
            },
        }
        for status, alike in sorted(by_status.items())
    }
